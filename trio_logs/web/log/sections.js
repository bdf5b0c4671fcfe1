/** The sections of a log, which marks in its lines begin and end; sans-IO. */

import { Coverage } from "./coverage.js"
import { marksOf, withoutMarks } from "./section_marks.js"

/** @typedef {import("./section_marks.js").Mark} Mark */
/** @typedef {import("./row_map.js").Range} Range */
/** @typedef {{ marks: Mark[], isBlank: boolean, time: number }} Marked A line with marks; `isBlank` if it has nothing else. */

/**
 * @typedef {object} Section
 * @property {number} from The line with its title.
 * @property {number} to The last line of it: Infinity while it goes on, and NaN where it is not known.
 * @property {number} time Of the first line, in milliseconds since 1970.
 * @property {number} until Of the line that ends it, or NaN.
 * @property {number} lines That are no marks; Infinity while it goes on.
 */

/** Lines with marks that are remembered. Past it, the older half is forgotten. */
export const MOST_MARKED = 20_000
/** A log with more lines is not searched: sections are those of lines that were loaded. */
export const MOST_SEARCHED = 1_000_000

export class Sections {
  /** The number of the last line of the log. */
  head = 0
  /** Lines whose marks are known. */
  coverage = new Coverage()
  /** Whether marks were forgotten, so that the log can't be known as a whole. */
  isForgetful = false
  /** By line. @type {Map<number, Marked>} */
  #marked = new Map()
  /** First lines of closed sections. @type {Set<number>} */
  #closed = new Set()
  /** By first line, in order; none while it has to be made anew. @type {Map<number, Section> | undefined} */
  #sections = undefined
  /** @type {Range[] | undefined} */
  #hidden = undefined

  /** Whether all of the log is looked at, now or soon. */
  get isWhole() {
    return !this.isForgetful && this.head <= MOST_SEARCHED
  }

  /** Look at a line. @param {import("../wire/log_news.js").Line} line */
  see(line) {
    const ranges = this.coverage.all.length
    this.coverage.add(line.seq, line.seq)
    // Ranges that have become one may have a section in common.
    if (!this.isWhole && this.coverage.all.length !== ranges) this.#change()
    this.mark(line)
  }

  /** Remember the marks of a line. @param {import("../wire/log_news.js").Line} line */
  mark({ seq, text, time }) {
    if (this.#marked.has(seq)) return
    const marks = marksOf(text)
    if (!marks.length) return
    const isBlank = !/\S/.test(withoutMarks(text, marks).replace(/\x1b\[[0-?]*[ -/]*[@-~]/g, ""))
    this.#marked.set(seq, { marks, isBlank, time: Date.parse(time) })
    if (this.#marked.size > MOST_MARKED) this.#forget()
    this.#change()
  }

  /** Lines that have no marks, or none that can be read. @param {number} from @param {number} to */
  lack(from, to) {
    this.coverage.add(from, to)
    if (!this.#marked.size) return
    for (const line of this.#marked.keys()) if (line >= from && line <= to) this.#marked.delete(line)
    this.#change()
  }

  /** Lines were searched: all that have marks were seen. @param {number} from @param {number} to */
  cover(from, to) {
    this.coverage.add(from, to)
    this.#change()
  }

  /** The log has too many marks to know it as a whole. */
  giveUp() {
    this.isForgetful = true
    this.#change()
  }

  /** How many lines have marks, of those that are known. */
  get size() {
    return this.#marked.size
  }

  /** @param {number} line */
  marksAt(line) {
    return this.#marked.get(line)?.marks
  }

  /** The section whose title a line has. @param {number} line */
  at(line) {
    return this.#all().get(line)
  }

  /** Those around a line, the outermost first. @param {number} line */
  around(line) {
    return this.foldable().filter(({ from, to }) => from < line && line <= to)
  }

  /** Those whose ends are known, in order. */
  foldable() {
    return [...this.#all().values()].filter(canFold)
  }

  /** @param {number} from */
  isClosed(from) {
    return this.#closed.has(from)
  }

  /** @param {number} from @param {boolean} isClosed */
  fold(from, isClosed) {
    if (isClosed) this.#closed.add(from)
    else this.#closed.delete(from)
    this.#hidden = undefined
  }

  /** The lines that closed sections hide. */
  get hidden() {
    this.#hidden ??= this.#closed.size ? this.foldable().filter(({ from }) => this.#closed.has(from)).map(({ from, to }) => ({ from: from + 1, to })) : []
    return this.#hidden
  }

  #change() {
    this.#sections = undefined
    if (this.#closed.size) this.#hidden = undefined
  }

  #forget() {
    const lines = [...this.#marked.keys()].sort((one, other) => one - other)
    const kept = /** @type {number} */ (lines[lines.length >> 1])
    for (const line of lines) if (line < kept) this.#marked.delete(line)
    for (const line of this.#closed) if (line < kept) this.#closed.delete(line)
    this.coverage.removeBefore(kept)
    this.giveUp()
  }

  #all() {
    if (this.#sections) return this.#sections
    const lines = [...this.#marked.keys()].sort((one, other) => one - other)
    /** @type {Section[]} */
    const found = []
    if (this.isWhole) found.push(...this.#pair(lines, Infinity))
    else {
      // Between lines that nobody has looked at, a section may have ended.
      for (const { from, to } of this.coverage.all) {
        found.push(...this.#pair(lines.filter((line) => line >= from && line <= to), to >= this.head ? Infinity : NaN))
      }
    }
    this.#sections = new Map(found.sort((one, other) => one.from - other.from).map((each) => [each.from, each]))
    return this.#sections
  }

  /** @param {number[]} lines @param {number} end Of the sections that these lines leave open. */
  #pair(lines, end) {
    /** @type {Section[]} */ const done = []
    /** @type {(Section & { mark: Mark })[]} */ const open = []
    const close = (/** @type {number} */ place, /** @type {number} */ to, /** @type {number} */ until, isMark = false) => {
      for (const { from, time } of place < 0 ? [] : open.splice(place)) done.push({ from, to, time, until, lines: to - from - (isMark ? 1 : 0) })
    }
    for (const line of lines) {
      const { marks, isBlank, time } = /** @type {Marked} */ (this.#marked.get(line))
      if (this.#isDiff(line)) continue
      const start = marks.findLast(({ isStart }) => isStart)
      for (const mark of marks) {
        const isLike = (/** @type {{ mark: Mark }} */ each) => each.mark.family === mark.family && (mark.family !== "gitlab" || each.mark.name === mark.name)
        if (mark.isStart && mark.family === "buildkite") close(open.findIndex(isLike), line - 1, time)
        else if (!mark.isStart && mark.family !== "buildkite") close(open.findLastIndex(isLike), isBlank && !start ? line : line - 1, time, isBlank && !start)
        if (mark === start) open.push({ from: line, to: end, time, until: NaN, lines: end, mark })
      }
    }
    close(0, end, NaN)
    return done
  }

  /** Whether a line is one of the two that name the files of a diff. @param {number} line */
  #isDiff(line) {
    const isFile = (/** @type {number} */ each, /** @type {string} */ sign) => {
      const mark = this.#marked.get(each)?.marks[0]
      return mark?.isPath && mark.name === sign
    }
    return (isFile(line, "---") && isFile(line + 1, "+++")) || (isFile(line, "+++") && isFile(line - 1, "---"))
  }
}

/** Whether something is left to hide, or may come. @param {Section} section */
export const canFold = ({ from, to }) => to > from
