/**
 * What a terminal shows of one line, as runs of text that look the same; sans-IO.
 *
 * A row has no other rows above or below it. So a move up or down stays in the row: frames that a
 * program redraws with it remain lines.
 */

import { Cells, MAX_COLUMNS } from "./cells.js"
import { feed } from "./escapes.js"
import { isSame, PLAIN, styled } from "./style.js"

/** @typedef {import("./style.js").Style} Style */
/** @typedef {import("./escapes.js").Screen} Screen */

/**
 * @typedef {object} Run
 * @property {string} text
 * @property {Readonly<Style>} style
 * @property {string} link An `http` or `https` address, or empty.
 */

/**
 * @typedef {object} Row
 * @property {Run[]} runs At most `MAX_RUNS`.
 * @property {Readonly<Style>} style That of the next line of the same stream.
 */

/** A run is an element of the page. Past this many, the rest of a row looks the same. */
export const MAX_RUNS = 2000

/**
 * @param {string} text A line without its end.
 * @param {Readonly<Style>} style That in which the line before it ended.
 * @returns {Row}
 */
export function parseRow(text, style = PLAIN) {
  const screen = new RowScreen(style)
  feed(text, screen)
  return { runs: screen.finish(), style: screen.style }
}

/** @implements {Screen} */
class RowScreen {
  /** @param {Readonly<Style>} style */
  constructor(style) {
    this.style = style
    this.link = ""
    /** @type {Run[]} */
    this.runs = []
    /** What the row is made of once the cursor has left its end. @type {Cells | undefined} */
    this.cells = undefined
    this.last = ""
    /** Where a restore goes. @type {{ column: number, style: Readonly<Style> }} */
    this.saved = { column: 0, style: PLAIN }
    this.isSaved = false
    this.isElsewhere = false
  }

  /** @param {string} text */
  print(text) {
    // A program that draws in another row between save and restore draws a status bar.
    if (this.isElsewhere) return
    this.last = text
    if (this.cells) this.cells.write(text, this.style, this.link)
    else append(this.runs, text, this.style, this.link)
  }

  /** @param {number} code */
  control(code) {
    if (code === 9) this.print("\t")
    else if (code === 8) this.#move(-1)
    else if (code === 13) this.#cells().moveTo(0)
  }

  /** @param {string} text */
  command(text) {
    const address = /^8;[^;]*;(.*)$/s.exec(text)?.[1]
    if (address !== undefined) this.link = /^https?:\/\//i.test(address) ? address : ""
  }

  /**
   * @param {string} final
   * @param {string} intermediates
   */
  escape(final, intermediates) {
    if (intermediates) return
    if (final === "7") this.#save()
    else if (final === "8") this.#restore()
    else if (final === "E") this.#cells().moveTo(0)
    else if (final === "c") {
      this.style = PLAIN
      this.link = ""
      this.runs = []
      this.cells = undefined
    }
  }

  /**
   * @param {string} final
   * @param {string} parameters
   * @param {string} intermediates
   */
  sequence(final, parameters, intermediates) {
    if (intermediates || /^[<-?]/.test(parameters)) return
    if (final === "m") {
      this.style = styled(this.style, parameters)
      return
    }
    const [first = 0, second = 0] = parameters.split(";").map((part) => parseInt(part, 10) || 0)
    const count = Math.min(Math.max(first, 1), MAX_COLUMNS)
    // Programs erase the rest of a line after nearly each word: at the end, there is none.
    if (!this.cells && "KJ".includes(final) && first === 0) return
    switch (final) {
      case "C":
      case "a":
        return this.#move(count)
      case "D":
        return this.#move(-count)
      case "E":
      case "F":
        return this.#cells().moveTo(0)
      case "G":
      case "`":
        return this.#cells().moveTo(count - 1)
      case "H":
      case "f":
        this.isElsewhere = this.isSaved && first > 1
        return this.#cells().moveTo(Math.max(second, 1) - 1)
      case "K":
      case "J":
        return this.#erase(first)
      case "X":
        return this.#cells().erase(this.#cells().cursor, this.#cells().cursor + count, this.style)
      case "P":
        return this.#cells().remove(count)
      case "@":
        return this.#cells().insert(count)
      case "b":
        return this.print([...this.last].at(-1)?.repeat(this.#room(count)) ?? "")
      case "s":
        return this.#save()
      case "u":
        return this.#restore()
    }
  }

  finish() {
    if (!this.cells) return this.runs
    this.runs = []
    for (const { text, style, link } of this.cells.written()) append(this.runs, text, style, link)
    return this.runs
  }

  #cells() {
    if (!this.cells) {
      this.cells = new Cells()
      for (const { text, style, link } of this.runs) this.cells.write(text, style, link)
    }
    return this.cells
  }

  /** @param {number} columns To the right. */
  #move(columns) {
    this.#cells().moveTo(this.#cells().cursor + columns)
  }

  /** @param {number} which 0 after the cursor, 1 up to it, 2 all. */
  #erase(which) {
    if (which > 2) return
    const cells = this.#cells()
    const start = which === 0 ? cells.cursor : 0
    cells.erase(start, which === 1 ? cells.cursor + 1 : Infinity, this.style)
  }

  /** @param {number} count */
  #room(count) {
    return Math.max(0, Math.min(count, MAX_COLUMNS - this.#cells().cursor))
  }

  #save() {
    this.saved = { column: this.#cells().cursor, style: this.style }
    this.isSaved = true
  }

  #restore() {
    this.isSaved = false
    this.isElsewhere = false
    this.#cells().moveTo(this.saved.column)
    this.style = this.saved.style
  }
}

/**
 * @param {Run[]} runs
 * @param {string} text
 * @param {Readonly<Style>} style
 * @param {string} link
 */
function append(runs, text, style, link) {
  const last = runs.at(-1)
  const isLike = last && isSame(last.style, style) && last.link === link
  if (last && (isLike || runs.length >= MAX_RUNS)) last.text += text
  else if (text) runs.push({ text, style, link })
}
