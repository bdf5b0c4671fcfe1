/** The rows of one log: its lines, its gaps, the lines that have not ended, and its end. */

import { Gaps } from "./gaps.js"
import { Lines } from "./lines.js"
import { RowMap } from "./row_map.js"
import { Sections } from "./sections.js"

/** @typedef {import("../wire/log_news.js").Line} Line */

/**
 * @typedef {{ kind: "line", number: number, line: Line | undefined }
 *   | { kind: "gap", from: number, to: number, reason: string }
 *   | { kind: "reset", detail: string }
 *   | { kind: "waiting", stream: string }
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
  /** That the service lacks lines it had, in its words, and the last one it has. @type {{ after: number, detail: string } | undefined} */
  reset = undefined
  /** By stream. @type {[string, string][]} */
  unfinished = []

  get count() {
    return this.lineRows + this.below().length
  }

  /**
   * The rows below the lines.
   *
   * @param {string} [only] The stream whose lines show; all if empty.
   * @param {boolean} [hasLines] Whether it has any.
   * @returns {Entry[]}
   */
  below(only = "", hasLines = false) {
    /** @type {Entry[]} */
    const rows = []
    for (const [stream, text] of this.unfinished) if (!only || stream === only) rows.push({ kind: "unfinished", stream, text })
    const isEmpty = only ? !hasLines : !this.head
    if (isEmpty && !rows.length && (only || !this.hasEnded)) rows.push({ kind: "waiting", stream: only })
    if (this.hasEnded) rows.push({ kind: "end" })
    return rows
  }

  get lineRows() {
    return this.#rows.count(this.head) + (this.reset ? 1 : 0)
  }

  /** The row that tells of a reset, or -1. */
  get #resetRow() {
    return this.reset ? this.#rows.count(Math.min(this.reset.after, this.head)) : -1
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
    return this.#rows.rowOf(line) + (this.reset && line > this.reset.after ? 1 : 0)
  }

  /** The line of a row, or the first of a gap, or the one before a reset. @param {number} row */
  lineOf(row) {
    return this.#rows.lineOf(this.reset && row >= this.#resetRow ? Math.max(0, row - 1) : row)
  }

  /** @param {number} row @returns {Entry} */
  at(row) {
    const below = row - this.lineRows
    if (below >= 0) return this.below()[below] ?? { kind: "end" }
    if (this.reset && row === this.#resetRow) return { kind: "reset", detail: this.reset.detail }
    const number = this.lineOf(row)
    const gap = this.gaps.of(number)
    return gap ? { kind: "gap", ...gap } : { kind: "line", number, line: this.lines.get(number) }
  }

  /** @param {number} row */
  keyOf(row) {
    const below = row - this.lineRows
    if (this.reset && row === this.#resetRow) return "reset"
    return below < 0 ? `L${this.lineOf(row)}` : keyBelow(this.below()[below])
  }

  /** @param {string} key */
  indexOf(key) {
    if (key.startsWith("L")) {
      const number = Number(key.slice(1))
      return number <= this.head ? this.rowOf(number) : -1
    }
    if (key === "reset") return this.#resetRow
    const below = this.below().findIndex((entry) => keyBelow(entry) === key)
    return below < 0 ? -1 : this.lineRows + below
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
        this.reset = { after: 0, detail: each.detail ?? each.reason }
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

/** The key of a row below the lines. @param {Entry | undefined} entry */
export const keyBelow = (entry) => (entry?.kind === "unfinished" ? entry.stream : entry?.kind ?? "end")
