/** The rows of one stream of a log: its lines, those of it that have not ended, and the end. */

import { Finder } from "./finder.js"
import { MatchesModel } from "./matches_model.js"
import { keyBelow } from "./model.js"

/** Milliseconds after which a search is tried again that the service refused. */
const PAUSE = 2000
/** Lines in a tile that grows here; it is looked through for each row. */
const MOST_IN_TILE = 1000

export class StreamModel {
  #tried = 0

  /**
   * @param {import("./model.js").LogModel} model
   * @param {string} stream
   * @param {(path: string, signal: AbortSignal) => Promise<Response>} read
   * @param {() => void} changed
   */
  constructor(model, stream, read, changed) {
    this.model = model
    this.stream = stream
    this.finder = new Finder(read, changed)
    this.lines = new MatchesModel(model, this.finder, read, changed)
  }

  close() {
    this.finder.close()
  }

  /** Find the lines. */
  async open() {
    this.#tried = performance.now()
    await this.finder.search({ find: "", matchCase: true, isRegex: false, stream: this.stream })
  }

  /** Lines may have come: those that are here need no search. */
  grew() {
    const { finder, model } = this
    if (finder.isSearching) return
    if (finder.error) {
      if (performance.now() - this.#tried > PAUSE) this.open()
      return
    }
    const from = finder.searched + 1
    const at = []
    let to = from
    for (let line = model.lines.get(to); line; line = model.lines.get((to += 1))) if (line.stream === this.stream) at.push(to)
    if (to > from) finder.append({ from, to: to - 1, count: at.length, at }, MOST_IN_TILE)
    // A burst of lines stays in the store.
    if (to <= model.head) finder.extend(model.head)
  }

  get count() {
    return this.finder.count + this.#below.length
  }

  /** @param {number} index @returns {import("./model.js").Entry} */
  at(index) {
    return this.#below[index - this.finder.count] ?? this.lines.at(index)
  }

  /** @param {number} index */
  keyOf(index) {
    return index < this.finder.count ? this.lines.keyOf(index) : keyBelow(this.#below[index - this.finder.count])
  }

  /** @param {string} key */
  indexOf(key) {
    const below = this.#below.findIndex((entry) => keyBelow(entry) === key)
    return below < 0 ? this.lines.indexOf(key) : this.finder.count + below
  }

  /** The row of a line, or of the next one of the stream. @param {number} line */
  indexNear(line) {
    return this.lines.indexNear(line)
  }

  /** @param {number} first @param {number} last */
  show(first, last) {
    this.lines.show(first, Math.min(last, this.finder.count - 1))
  }

  get #below() {
    const { count, isSearching, error } = this.finder
    return this.model.below(this.stream, count > 0 || isSearching || Boolean(error))
  }
}
