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
  /** A step that was asked for before the search had found anything. @type {1 | -1 | 0} */
  #due = 0

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
      this.#due = 0
      this.#extended = Date.now()
      await this.finder.search(query)
    }
    if (this.finder.query !== query && JSON.stringify(query) !== JSON.stringify(this.finder.query)) return
    // Before the rows become others.
    const line = this.current || this.view.topLine
    const showsOnly = only && Boolean(query)
    if (showsOnly !== Boolean(rows.matches) || (showsOnly && !isSame)) {
      rows.matches = showsOnly ? new MatchesModel(this.view.model, this.finder, this.read, () => list.refresh()) : undefined
      // The button counts the lines of these rows from now on.
      this.view.follow.restart()
      // A view that follows its end goes on to follow it, with the matches alone.
      if (showsOnly && list.isFollowing) list.render()
      else list.reveal(rows.reach(line), { always: true })
    }
    if (!isSame && query && this.finder.count && !this.current) {
      const { topLine } = this.view
      if (this.#due < 0) await this.#select(this.finder.before(topLine))
      else if (this.#due || !place.target) await this.#select(this.finder.after(topLine - 1))
    }
    this.#changed()
  }

  /** @param {1 | -1} step */
  async step(step) {
    if (!this.finder.count) {
      this.#due = step
      return
    }
    const from = this.current || this.view.topLine
    await this.#select(step > 0 ? this.finder.after(from) : this.finder.before(from))
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

  /** @param {Promise<number | undefined>} finding The line of a match. */
  async #select(finding) {
    const { finder } = this
    const { query } = finder
    try {
      const line = await finding
      if (!line || finder.query !== query) return
      this.current = line
      this.#ordinal = 0
      const { list, rows } = this.view
      list.reveal(rows.reach(line))
      list.refresh()
      const ordinal = await finder.ordinalOf(line)
      if (finder.query !== query || this.current !== line) return
      this.#ordinal = ordinal
      this.#changed()
    } catch {} // Another search has begun, or the state of the connection tells.
  }

  #changed() {
    const { tools, model, list, follow } = this.view
    tools.showMatches(this.finder, this.#ordinal, model.head)
    follow.grew()
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
