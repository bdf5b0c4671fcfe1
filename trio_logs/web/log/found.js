/** Find in a log as a person sees it: the current match, its number among all, and the marks. */

import { make } from "../element.js"
import { Finder } from "./finder.js"
import { highlight } from "./highlights.js"
import { drawMarks } from "./marks.js"
import { MatchesModel } from "./matches_model.js"

/** Milliseconds between two searches of what is new. */
const EXTEND = 2000

export class Found {
  /** The line of the current match, or 0. */
  current = 0
  #ordinal = 0
  #extended = 0
  #drawn = ""

  /**
   * @param {import("./view.js").LogView} view
   * @param {(path: string, signal: AbortSignal) => Promise<Response>} read
   */
  constructor(view, read) {
    this.view = view
    this.read = read
    this.finder = new Finder(read, () => this.#changed())
    this.canvas = make("canvas", { class: "marks", "aria-hidden": "true" })
  }

  close() {
    this.finder.close()
    highlight(this, [], undefined)
  }

  /** @param {import("../address.js").Place} place */
  async search(place) {
    const { find, matchCase, isRegex, stream, only } = place
    const query = find ? { find, matchCase, isRegex, stream } : undefined
    const isSame = JSON.stringify(query) === JSON.stringify(this.finder.query)
    const { rows, list } = this.view
    if (!isSame) {
      this.current = 0
      this.#ordinal = 0
      this.#extended = Date.now()
      await this.finder.search(query)
    }
    if (this.finder.query !== query && JSON.stringify(query) !== JSON.stringify(this.finder.query)) return
    // Before the rows become others: the first of those may be half above the view.
    const line = this.current || this.view.topLine
    const showsOnly = only && Boolean(query)
    if (showsOnly !== Boolean(rows.matches) || (showsOnly && !isSame)) {
      rows.matches = showsOnly ? new MatchesModel(this.view.model, this.finder, this.read, () => list.refresh()) : undefined
      list.reveal(rows.reach(line), { always: true })
    }
    if (!isSame && query && this.finder.count && !place.target) await this.#select(await this.finder.after(line - 1))
    this.#changed()
  }

  /** @param {1 | -1} step */
  async step(step) {
    if (!this.finder.count) return
    const from = this.current || this.view.topLine
    await this.#select(step > 0 ? await this.finder.after(from) : await this.finder.before(from))
  }

  /** Lines have come: look at them, too, but not all the time. */
  grew() {
    const { model } = this.view
    const isDue = Date.now() - this.#extended > EXTEND || model.hasEnded
    if (!isDue || model.head <= this.finder.searched) return
    this.#extended = Date.now()
    this.finder.extend(model.head)
  }

  /** Mark what matches in the rows that show. */
  mark() {
    const rows = /** @type {Iterable<HTMLElement>} */ (this.view.list.rows.children)
    highlight(this, rows, this.finder.query, (row) => Number(row.dataset.line) === this.current)
    this.#draw()
  }

  /** @param {number | undefined} line */
  async #select(line) {
    if (!line) return
    this.current = line
    this.#ordinal = 0
    const { list, rows } = this.view
    list.reveal(rows.reach(line))
    list.refresh()
    this.#ordinal = await this.finder.ordinalOf(line)
    this.#changed()
  }

  #changed() {
    const { tools, model, list } = this.view
    tools.showMatches(this.finder, this.#ordinal, model.head)
    list.refresh()
  }

  #draw() {
    const { tiles, count } = this.finder
    const { model, rows } = this.view
    const { clientHeight } = this.canvas
    const hidden = model.head - model.lineRows
    const state = `${count} ${tiles.length} ${count ? Math.floor(model.head / 100) : 0} ${hidden} ${Boolean(rows.some)} ${clientHeight} ${document.documentElement.dataset.theme}`
    if (state === this.#drawn) return
    this.#drawn = state
    drawMarks(this.canvas, tiles, (line) => (rows.some ? (line - 0.5) / model.head : (model.rowOf(line) + 0.5) / model.lineRows))
  }
}
