/** The rows of one log: its lines, its gaps, the lines that have not ended, and its end. */

import { Gaps } from "./gaps.js"
import { Lines } from "./lines.js"
import { RowMap } from "./row_map.js"
import { Sections } from "./sections.js"

/** @typedef {import("../wire/log_news.js").Line} Line */

/**
 * @typedef {{ kind: "line", number: number, line: Line | undefined }
 *   | { kind: "gap", from: number, to: number, reason: string }
 *   | { kind: "unfinished", stream: string, text: string }
 *   | { kind: "end" }} Entry
 */

export class LogModel {
  lines = new Lines()
  gaps = new Gaps()
  sections = new Sections()
  /** What the rows were made of, to see whether that has changed. */
  #from = { gaps: this.gaps.all, hidden: this.sections.hidden }
  #map = new RowMap([])
  /** The number of the last line. */
  head = 0
  hasEnded = false
  /** By stream. @type {[string, string][]} */
  unfinished = []

  get count() {
    return this.lineRows + this.unfinished.length + (this.hasEnded ? 1 : 0)
  }

  get lineRows() {
    return this.#rows.count(this.head)
  }

  get #rows() {
    this.sections.head = this.head
    const { gaps, hidden } = { gaps: this.gaps.all, hidden: this.sections.hidden }
    if (gaps !== this.#from.gaps || hidden !== this.#from.hidden) {
      this.#from = { gaps, hidden }
      this.#map = new RowMap([...gaps.map(({ from, to }) => ({ from: from + 1, to })), ...hidden])
    }
    return this.#map
  }

  /** The row of a line, or of what shows in its place. @param {number} line */
  rowOf(line) {
    return this.#rows.rowOf(line)
  }

  /** The line of a row, or the first of a gap. @param {number} row */
  lineOf(row) {
    return this.#rows.lineOf(row)
  }

  /** @param {number} row @returns {Entry} */
  at(row) {
    const extra = row - this.lineRows
    const unfinished = this.unfinished[extra]
    if (extra >= 0 && unfinished) return { kind: "unfinished", stream: unfinished[0], text: unfinished[1] }
    if (extra >= 0) return { kind: "end" }
    const number = this.lineOf(row)
    const gap = this.gaps.of(number)
    return gap ? { kind: "gap", ...gap } : { kind: "line", number, line: this.lines.get(number) }
  }

  /** @param {number} row */
  keyOf(row) {
    const extra = row - this.lineRows
    if (extra < 0) return `L${this.lineOf(row)}`
    return this.unfinished[extra]?.[0] ?? "end"
  }

  /** @param {string} key */
  indexOf(key) {
    if (key === "end") return this.hasEnded ? this.count - 1 : -1
    if (key.startsWith("L")) {
      const number = Number(key.slice(1))
      return number <= this.head ? this.rowOf(number) : -1
    }
    const extra = this.unfinished.findIndex(([stream]) => stream === key)
    return extra < 0 ? -1 : this.lineRows + extra
  }

  /**
   * Take in what the service says: lines, gaps and resets.
   *
   * @param {any[]} objects
   */
  take(objects) {
    for (const each of objects) {
      if (each.seq !== undefined) {
        this.lines.put(each)
        this.sections.see(each)
        this.head = Math.max(this.head, each.seq)
      } else if (each.event === "gap" && each.to !== undefined) {
        this.gaps.add(each)
        this.sections.lack(each.from, each.to)
        this.head = Math.max(this.head, each.to)
      } else if (each.event === "reset") {
        this.lines.clear()
        this.gaps = new Gaps()
        this.sections = new Sections()
        this.head = 0
      }
    }
  }

  /** @param {Record<string, string>} unfinished The text of each stream. */
  setUnfinished(unfinished) {
    this.unfinished = Object.entries(unfinished).filter(([, text]) => text)
  }

  /**
   * The first and the last line in a range that this tab does not have.
   *
   * @param {number} from
   * @param {number} to
   * @returns {[number, number] | undefined}
   */
  missing(from, to) {
    const last = Math.min(to, this.head)
    const isMissing = (/** @type {number} */ number) => !this.lines.get(number) && !this.gaps.of(number)
    let start = Math.max(1, from)
    while (start <= last && !isMissing(start)) start += 1
    let end = last
    while (end > start && !isMissing(end)) end -= 1
    return start <= last ? [start, end] : undefined
  }
}
