/** The rows of a log for the list: all of them, or those that match. */

import { buildRow } from "./row.js"

/** @typedef {import("./matches_model.js").MatchesModel} MatchesModel */

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
    return this.matches ? this.matches.indexNear(line) : this.model.gaps.rowOf(Math.max(1, Math.min(line, this.model.head)))
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
    const { times, target, start, workload, prefix } = this.look
    switch (entry.kind) {
      case "line": {
        const isTarget = target && target[0] <= entry.number && entry.number <= target[1]
        return `${entry.number} ${entry.line ? 1 : 0} ${isTarget ? 1 : 0} ${times} ${start} ${prefix}`
      }
      case "gap":
        return `${entry.from} ${entry.to} ${entry.reason}`
      case "unfinished":
        return entry.text
      case "end":
        return `end ${workload?.status}`
    }
  }

  /** @param {number} index */
  build(index) {
    return buildRow(this.source.at(index), this.model.lines, this.look)
  }

  /** @param {number} first @param {number} last */
  show(first, last) {
    if (this.matches) {
      this.matches.show(first, last)
      return
    }
    const from = this.model.gaps.lineOf(first)
    const to = this.model.gaps.lineOf(Math.min(last, this.model.lineRows - 1))
    this.model.lines.use(from, to)
    this.want(from, to)
  }
}
