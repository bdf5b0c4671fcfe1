/** The rows of a log for the list: all of them, or those that match. */

import { buildRow } from "./row.js"
import { dressMarks } from "./section_row.js"
import { canFold } from "./sections.js"

/** @typedef {import("./matches_model.js").MatchesModel} MatchesModel */

/** Lines between two that one request fetches. */
const FAR = 500

export class LogRows {
  /** @type {import("./row.js").Look} */
  look = { times: "local", start: 0, target: undefined, workload: undefined, prefix: "" }
  /** Set while only matches show. @type {MatchesModel | undefined} */
  matches = undefined

  /**
   * @param {import("./model.js").LogModel} model
   * @param {(from: number, to: number) => void} want Fetches lines.
   */
  constructor(model, want) {
    this.model = model
    this.want = want
  }

  get source() {
    return this.matches ?? this.model
  }

  get count() {
    return this.source.count
  }

  /** @param {number} index */
  keyOf(index) {
    return this.source.keyOf(index)
  }

  /** @param {string} key */
  indexOf(key) {
    return this.source.indexOf(key)
  }

  /** @param {number} line */
  indexOfLine(line) {
    return this.matches ? this.matches.indexNear(line) : this.model.rowOf(Math.max(1, Math.min(line, this.model.head)))
  }

  /** Likewise, but closed sections around the line open. @param {number} line */
  reach(line) {
    const { sections } = this.model
    if (!this.matches) for (const { from } of sections.around(line)) sections.fold(from, false)
    return this.indexOfLine(line)
  }

  /** The line of a row, or the nearest one. @param {number} index */
  lineAt(index) {
    const entry = this.source.at(index)
    if (entry.kind === "line") return entry.number
    return entry.kind === "gap" ? entry.from : this.model.head
  }

  /** @param {number} index */
  stampOf(index) {
    const entry = this.source.at(index)
    const { times, target, start, workload } = this.look
    switch (entry.kind) {
      case "line": {
        const isTarget = target && target[0] <= entry.number && entry.number <= target[1]
        return `${entry.number} ${entry.line ? 1 : 0} ${isTarget ? 1 : 0} ${times} ${start} ${this.#titleAt(entry.number)}`
      }
      case "gap":
        return `${entry.from} ${entry.to} ${entry.reason}`
      case "unfinished":
        return entry.text
      case "end":
        return `end ${workload?.status}`
    }
  }

  /** What the title of a section looks like. @param {number} line */
  #titleAt(line) {
    const section = this.model.sections.at(line)
    if (!section) return ""
    return !this.matches && canFold(section) ? "fold" : "title"
  }

  /** @param {number} index */
  build(index) {
    const entry = this.source.at(index)
    const row = buildRow(entry, this.model.lines, this.look)
    if (entry.kind === "line" && entry.line) dressMarks(row, entry.line, this.model, this.#titleAt(entry.number) === "fold")
    return row
  }

  /** @param {number} first @param {number} last */
  show(first, last) {
    if (this.matches) {
      this.matches.show(first, last)
      return
    }
    const { lines, gaps } = this.model
    let [from, to, used] = [0, 0, -1]
    for (let row = first; row <= Math.min(last, this.model.lineRows - 1); row += 1) {
      const number = this.model.lineOf(row)
      if (number >> 6 !== used) lines.use(number, number)
      used = number >> 6
      if (lines.get(number) || gaps.of(number)) continue
      from ||= number
      // Lines that a closed section hides are not worth a request.
      if (number - from < FAR) to = number
    }
    this.want(from || 1, to)
  }
}
