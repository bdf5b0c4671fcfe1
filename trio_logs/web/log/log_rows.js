/** The rows of a log for the list: all of them, those of one stream, or those that match. */

import { buildRow } from "./row.js"
import { dressMarks } from "./section_row.js"
import { canFold } from "./sections.js"

/** @typedef {import("./matches_model.js").MatchesModel} MatchesModel */

/** Lines between two that one request fetches. */
const FAR = 500

export class LogRows {
  /** @type {import("./row.js").Look} */
  look = { times: "local", start: 0, target: undefined, workload: undefined, isDeleted: false, prefix: "" }
  /** Set while only matches show. @type {MatchesModel | undefined} */
  matches = undefined
  /** Set while the lines of one stream show. @type {import("./stream_model.js").StreamModel | undefined} */
  streamed = undefined

  /**
   * @param {import("./model.js").LogModel} model
   * @param {(from: number, to: number) => void} want Fetches lines.
   */
  constructor(model, want) {
    this.model = model
    this.want = want
  }

  get source() {
    return this.some ?? this.model
  }

  /** The rows, where they are not those of all lines. */
  get some() {
    return this.matches ?? this.streamed
  }

  get count() {
    return this.source.count
  }

  /** The lines that there are to look at. */
  get lineCount() {
    const shown = this.matches ?? this.streamed
    return shown ? shown.finder.count : this.model.head
  }

  /** Whether a line has a row, of the lines in a range. @param {number} from @param {number} to @returns {(line: import("./lines.js").Line) => boolean} */
  showsIn(from, to) {
    const matches = this.matches?.among(from, to)
    const stream = this.streamed?.stream
    return ({ seq, stream: own }) => (matches ? matches.has(seq) : !stream || own === stream)
  }

  get hasEnded() {
    return this.model.hasEnded
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
    return this.some ? this.some.indexNear(line) : this.model.rowOf(Math.max(1, Math.min(line, this.model.head)))
  }

  /** Likewise, but closed sections around the line open. @param {number} line */
  reach(line) {
    const { sections } = this.model
    if (!this.some) for (const { from } of sections.around(line)) sections.fold(from, false)
    return this.indexOfLine(line)
  }

  /** The line of a row, or the nearest one. @param {number} index */
  lineAt(index) {
    const entry = this.source.at(index)
    if (entry.kind === "line") return entry.number
    if (entry.kind === "gap") return entry.from
    return entry.kind === "reset" ? this.model.lineOf(index) : this.model.head
  }

  /** @param {number} index */
  stampOf(index) {
    const entry = this.source.at(index)
    const { times, target, start, workload, prefix } = this.look
    switch (entry.kind) {
      case "line": {
        const isTarget = target && target[0] <= entry.number && entry.number <= target[1]
        return `${entry.number} ${entry.line ? 1 : 0} ${isTarget ? 1 : 0} ${times} ${start} ${prefix} ${this.#titleAt(entry.number)}`
      }
      case "gap":
        return `${entry.from} ${entry.to} ${entry.reason}`
      case "unfinished":
        return entry.text
      case "reset":
        return entry.detail
      case "waiting":
        return `${entry.stream} ${workload?.status}`
      case "end":
        return `end ${workload?.status} ${this.look.isDeleted}`
    }
  }

  /** @param {number} index */
  isReady(index) {
    const entry = this.source.at(index)
    return entry.kind !== "line" || Boolean(entry.line)
  }

  /** What the title of a section looks like. @param {number} line */
  #titleAt(line) {
    const section = this.model.sections.at(line)
    if (!section) return ""
    return !this.some && canFold(section) ? "fold" : "title"
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
    if (this.some) {
      this.some.show(first, last)
      return
    }
    const { lines, gaps } = this.model
    const used = new Map()
    let [from, to] = [0, 0]
    for (let row = first; row <= Math.min(last, this.model.lineRows - 1); row += 1) {
      const number = this.model.lineOf(row)
      used.set(number >> 6, number)
      if (lines.get(number) || gaps.of(number)) continue
      from ||= number
      // Lines that a closed section hides are not worth a request.
      if (number - from < FAR) to = number
    }
    lines.use(used.values())
    this.want(from || 1, to)
  }
}
