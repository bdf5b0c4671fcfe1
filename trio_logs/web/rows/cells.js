/**
 * The cells of one row, for text that does not only grow at its end: a carriage return, a backspace,
 * an erase or a move goes back to cells that are already there.
 */

import { PLAIN } from "./style.js"
import { widthOf } from "./width.js"

/** @typedef {import("./style.js").Style} Style */

/**
 * @typedef {object} Cell
 * @property {string} text Empty for the second cell of a wide character.
 * @property {Readonly<Style>} style
 * @property {string} link An address, or empty.
 * @property {boolean} isWritten False for what a move or an erase left.
 */

/** A hostile move or repetition takes no more memory than this. */
export const MAX_COLUMNS = 4096

/** @returns {Cell} */
const blank = (style = PLAIN) => ({ text: " ", style, link: "", isWritten: false })

export class Cells {
  constructor() {
    /** @type {Cell[]} */
    this.cells = []
    this.cursor = 0
  }

  /**
   * @param {string} text
   * @param {Readonly<Style>} style
   * @param {string} link
   */
  write(text, style, link) {
    for (const character of text) {
      if (character === "\t") {
        this.moveTo((Math.floor(this.cursor / 8) + 1) * 8)
        continue
      }
      const width = widthOf(character)
      if (width === 0) {
        const before = this.cells[this.cursor - 1]?.text ? this.cursor - 1 : this.cursor - 2
        const cell = this.cells[before]
        // A copy: `erase` leaves one cell in many places.
        if (cell) this.cells[before] = { ...cell, text: cell.text + character }
        continue
      }
      this.#grow(this.cursor)
      this.#split(this.cursor)
      this.#split(this.cursor + width)
      this.cells[this.cursor] = { text: character, style, link, isWritten: true }
      if (width === 2) this.cells[this.cursor + 1] = { text: "", style, link, isWritten: true }
      this.cursor += width
    }
  }

  /** @param {number} column From 0. */
  moveTo(column) {
    const most = Math.max(this.cells.length, MAX_COLUMNS)
    this.cursor = Math.min(Math.max(column, 0), most)
  }

  /**
   * Erase cells, the last one excluded.
   *
   * @param {number} from
   * @param {number} to
   * @param {Readonly<Style>} style Its ground stays.
   */
  erase(from, to, style) {
    const end = Math.min(to, this.cells.length)
    if (from >= end) return
    this.#split(from)
    this.#split(end)
    // One for all: a hostile row may erase thousands of cells thousands of times.
    this.cells.fill(blank({ ...PLAIN, ground: style.ground }), from, end)
  }

  /** @param {number} count Cells at the cursor. */
  remove(count) {
    this.#split(this.cursor)
    this.#split(this.cursor + count)
    this.cells.splice(this.cursor, count)
  }

  /** @param {number} count Cells at the cursor. */
  insert(count) {
    if (this.cursor >= this.cells.length) return
    this.#split(this.cursor)
    const room = Math.max(0, Math.max(this.cells.length, MAX_COLUMNS) - this.cells.length)
    const added = Array.from({ length: Math.min(count, room) }, () => blank())
    this.cells.splice(this.cursor, 0, ...added)
  }

  /** Without what was never written at the end. */
  written() {
    return this.cells.slice(0, this.cells.findLastIndex((cell) => cell.isWritten) + 1)
  }

  /** @param {number} length */
  #grow(length) {
    while (this.cells.length < length) this.cells.push(blank())
  }

  /** Half of a wide character can't stay: both halves become blank. @param {number} place */
  #split(place) {
    if (this.cells[place]?.text !== "" || place === 0) return
    this.cells[place - 1] = blank()
    this.cells[place] = blank()
  }
}
