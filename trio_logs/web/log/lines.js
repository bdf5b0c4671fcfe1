/** The lines of a log that this tab has, of which it keeps the last used ones, and all that are in view. */

import { parseRow } from "../rows/row.js"
import { PLAIN } from "../rows/style.js"

/** @typedef {import("../wire/log_news.js").Line} Line */
/** @typedef {import("../rows/style.js").Style} Style */

/** Lines in one chunk, the unit in which lines are forgotten. */
const CHUNK = 64
const MOST_LINES = 16_384
/** Beyond what is in view: a few chunks, of 4 MB each at most. */
const MOST_CHARACTERS = 4_000_000
/** Lines that are looked at for the style in which a line starts. */
export const LOOK_BACK = 64

export class Lines {
  /** By the number of the chunk, the one that was used last at the end. @type {Map<number, Line[]>} */
  #chunks = new Map()
  #characters = 0
  /** The chunks that are in view. @type {Set<number>} */
  #shown = new Set()
  /** The style after a line. @type {WeakMap<Line, Readonly<Style>>} */
  #styles = new WeakMap()

  /** @param {number} number */
  get(number) {
    return this.#chunks.get(Math.floor(number / CHUNK))?.[number % CHUNK]
  }

  /** @param {Line} line */
  put(line) {
    const place = Math.floor(line.seq / CHUNK)
    const chunk = this.#chunks.get(place) ?? []
    this.#characters += line.text.length - (chunk[line.seq % CHUNK]?.text.length ?? 0)
    chunk[line.seq % CHUNK] = line
    this.#chunks.delete(place)
    this.#chunks.set(place, chunk)
    this.#forget()
  }

  clear() {
    this.#chunks.clear()
    this.#characters = 0
  }

  /** Say that these lines are in view: until the next call, they stay. @param {Iterable<number>} numbers */
  use(numbers) {
    this.#shown = new Set([...numbers].map((number) => Math.floor(number / CHUNK)))
    for (const place of this.#shown) {
      const chunk = this.#chunks.get(place)
      if (!chunk) continue
      this.#chunks.delete(place)
      this.#chunks.set(place, chunk)
    }
  }

  /** What a terminal shows of a line. @param {Line} line */
  rowOf(line) {
    return this.#parse(line, this.#styleBefore(line))
  }

  /** What it shows of a part of a line. @param {Line} line @param {string} text */
  rowOfPart(line, text) {
    return parseRow(text, this.#styleBefore(line))
  }

  /** @param {Line} line @param {Readonly<Style>} style */
  #parse(line, style) {
    const row = parseRow(line.text, style)
    this.#styles.set(line, row.style)
    return row
  }

  /** The style in which the stream's line before this one ended. @param {Line} line */
  #styleBefore(line) {
    const unknown = []
    let style = PLAIN
    for (let number = line.seq - 1; number >= Math.max(1, line.seq - LOOK_BACK); number -= 1) {
      const before = this.get(number)
      if (!before) break
      if (before.stream !== line.stream) continue
      const known = this.#styles.get(before)
      if (known) {
        style = known
        break
      }
      unknown.push(before)
    }
    for (const before of unknown.reverse()) style = this.#parse(before, style).style
    return style
  }

  #forget() {
    for (const [place, chunk] of this.#chunks) {
      const isMuch = this.#chunks.size * CHUNK > MOST_LINES || this.#characters > MOST_CHARACTERS
      if (!isMuch || this.#chunks.size === 1) return
      if (this.#shown.has(place)) continue
      this.#chunks.delete(place)
      for (const line of chunk) this.#characters -= line?.text.length ?? 0
    }
  }
}
