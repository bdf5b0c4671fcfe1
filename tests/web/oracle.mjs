// What xterm shows of one line, to hold the row parser against.

import xterm from "@xterm/headless"

import { parseRow } from "../../trio_logs/web/rows/row.js"
import * as look from "../../trio_logs/web/rows/style.js"

/** Columns; no recorded line is longer. */
const COLUMNS = 1100
const BLANK = " \0-1,-1,0"

/** A terminal of one row, which keeps its style from line to line. */
export class Oracle {
  terminal = new xterm.Terminal({ cols: COLUMNS, rows: 1, scrollback: 0, allowProposedApi: true })
  /** Of the line before. */
  #end = ""
  #cell = this.terminal.buffer.active.getNullCell()

  constructor() {
    // xterm would underline each link.
    this.terminal.parser.registerOscHandler(8, () => true)
  }

  /** The cells of a line without blanks at its end, each as its text, NUL and its style. @param {string} text */
  async show(text) {
    await new Promise((done) => this.terminal.write(this.#end + text, () => done(undefined)))
    this.#end = "\r\n"
    const { active } = this.terminal.buffer
    const line = active.getLine(active.cursorY)
    const shown = []
    let length = 0
    for (let column = 0; column < COLUMNS; column += 1) {
      const cell = line.getCell(column, this.#cell)
      const characters = cell.getChars()
      if (!cell.getWidth()) continue
      shown.push(characters || !cell.isAttributeDefault() ? `${characters || " "}\0${styleOf(cell)}` : BLANK)
      if (characters.trim()) length = shown.length
    }
    return shown.slice(0, length)
  }
}

/** As in `style.js`. */
function styleOf(cell) {
  const colour = (isDefault, isRgb, value) => (isDefault ? -1 : isRgb ? look.RGB + value : value)
  const flags =
    (cell.isBold() && look.BOLD) |
    (cell.isDim() && look.DIM) |
    (cell.isItalic() && look.ITALIC) |
    (cell.isUnderline() && look.UNDERLINE) |
    (cell.isInverse() && look.INVERSE) |
    (cell.isInvisible() && look.HIDDEN) |
    (cell.isStrikethrough() && look.STRIKE) |
    (cell.isOverline() && look.OVERLINE)
  return [
    colour(cell.isFgDefault(), cell.isFgRGB(), cell.getFgColor()),
    colour(cell.isBgDefault(), cell.isBgRGB(), cell.getBgColor()),
    flags,
  ].join()
}

/** The cells that the parser makes of a line, in the same form, and the style after it. */
export function parsed(text, style = look.PLAIN) {
  const row = parseRow(text, style)
  const cells = []
  let columns = 0
  const push = (character, look, width) => {
    cells.push(`${character}\0${look}`)
    columns += width
  }
  for (const run of row.runs) {
    const its = [run.style.color, run.style.ground, run.style.flags].join()
    for (const character of run.text) {
      if (/[\p{Mn}\p{Me}\p{Cf}]/u.test(character) && cells.length) {
        cells.push(cells.pop().replace("\0", `${character}\0`))
      } else if (character === "\t") {
        do push(" ", "-1,-1,0", 1)
        while (columns % 8)
      } else push(character, its, /[\u1100-\u115f\u2e80-\uffe6]|[\u{1f300}-\u{1f64f}\u{1f680}-\u{1f6ff}\u{1f900}-\u{1faff}\u{20000}-\u{3fffd}]/u.test(character) ? 2 : 1)
    }
  }
  const length = cells.findLastIndex((cell) => textOf(cell).trim()) + 1
  return { cells: cells.slice(0, length), style: row.style }
}

/** @param {string} cell */
const textOf = (cell) => cell.slice(0, cell.indexOf("\0"))

/** @param {string[]} cells */
export const text = (cells) => cells.map(textOf).join("")

/** Without blanks, whose style only says what was erased. @param {string[]} cells */
export const visible = (cells) => cells.filter((cell) => textOf(cell).trim())
