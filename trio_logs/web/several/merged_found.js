/** Find in a merged view as a person sees it: the current match, its number among all, and the marks. */

import { make } from "../element.js"
import { highlight } from "../log/highlights.js"
import { drawMarks } from "../log/marks.js"
import { MergedFinder } from "./merged_finder.js"

/** Milliseconds between two searches of what is new. */
const EXTEND = 2000

export class MergedFound {
  /** The key of the row that is the current match. */
  current = ""
  #extended = 0
  #drawn = ""

  /**
   * @param {import("./merged_view.js").MergedView} view
   * @param {(path: string, signal: AbortSignal) => Promise<Response>} read
   */
  constructor(view, read) {
    this.view = view
    this.finder = new MergedFinder(view.model, read, () => this.#changed())
    this.canvas = make("canvas", { class: "marks", "aria-hidden": "true" })
  }

  close() {
    this.finder.close()
    highlight(this, [], undefined)
  }

  /** @param {import("../address.js").Place} place @param {boolean} isAgain Whether the view has earlier lines than before. */
  async search({ find, matchCase, isRegex, stream, only, target }, isAgain = false) {
    const query = find ? { find, matchCase, isRegex, stream } : undefined
    const isOther = JSON.stringify(query) !== JSON.stringify(this.finder.query)
    if (isOther || isAgain) {
      if (isOther) this.current = ""
      this.#extended = Date.now()
      await this.finder.search(query)
      // Another search may have begun meanwhile.
      if (this.finder.query !== query) return
    }
    const { rows, list } = this.view
    const key = this.current || rows.keyOf(list.visible().first)
    const matches = only && query ? this.finder.matches : undefined
    if (matches !== rows.only) {
      rows.only = matches
      list.reveal(Math.max(0, rows.indexOf(key)), { always: true })
    }
    if (isOther && query && !target && !this.current) this.step(1)
    this.#changed()
  }

  /** @param {1 | -1} step */
  step(step) {
    const { rows, list, model } = this.view
    const { places } = this.finder
    if (!places.length) return
    const shown = rows.rowAt(list.visible().first)
    const from = model.indexOf(this.current || shown?.key || "")
    // The first search begins with what shows, itself included.
    const next = step > 0 ? places.find((place) => (this.current ? place > from : place >= from)) : places.findLast((place) => place < from)
    const row = model.rows[next ?? (step > 0 ? places[0] : places.at(-1)) ?? 0]
    this.current = row?.key ?? ""
    list.reveal(rows.indexOf(this.current))
    this.#changed()
  }

  /** Lines have come: look at them, too, but not all the time. */
  grew() {
    if (Date.now() - this.#extended < EXTEND && !this.view.model.hasEnded) return
    this.#extended = Date.now()
    this.finder.extend()
  }

  /** Mark what matches in the rows that show. */
  mark() {
    const elements = /** @type {Iterable<HTMLElement>} */ (this.view.list.rows.children)
    highlight(this, elements, this.finder.query, (row) => row.dataset.key === this.current)
    const { places } = this.finder
    const { version, rows } = this.view.model
    const state = `${places.length} ${places.length ? version : 0} ${this.canvas.clientHeight} ${document.documentElement.dataset.theme}`
    if (state === this.#drawn) return
    this.#drawn = state
    drawMarks(this.canvas, [{ from: 1, to: rows.length, count: places.length, at: places }], (place) => (place + 0.5) / rows.length)
  }

  #changed() {
    const { tools, model, list } = this.view
    const { finder } = this
    const ordinal = this.current ? finder.places.indexOf(model.indexOf(this.current)) + 1 : 0
    const { query, count, error, isSearching } = finder
    tools.showMatches({ query, count, error, isSearching, searched: 0 }, ordinal, 0)
    list.refresh()
  }
}
