// The row parser against xterm's, on recorded output of real programs and on random input.

import assert from "node:assert/strict"
import { readdirSync, readFileSync } from "node:fs"
import test from "node:test"

import xterm from "@xterm/headless"

import { MAX_COLUMNS } from "../../trio_logs/web/rows/cells.js"
import { MAX_RUNS, parseRow } from "../../trio_logs/web/rows/row.js"
import * as look from "../../trio_logs/web/rows/style.js"

const RECORDINGS = new URL("recordings/", import.meta.url)
const COLUMNS = 1100

/** A terminal of one row, which keeps its style from line to line. */
class Oracle {
  terminal = new xterm.Terminal({ cols: COLUMNS, rows: 1, scrollback: 0, allowProposedApi: true })

  constructor() {
    // xterm would underline each link.
    this.terminal.parser.registerOscHandler(8, () => true)
  }

  /** @param {string} text */
  async show(text) {
    await new Promise((done) => this.terminal.write(text, () => done(undefined)))
    const line = this.terminal.buffer.active.getLine(this.terminal.buffer.active.cursorY)
    const cells = Array.from({ length: COLUMNS }, (_, column) => line.getCell(column))
    const shown = cells.filter((cell) => cell.getWidth()).map((cell) => [cell.getChars() || " ", styleOf(cell)])
    await new Promise((done) => this.terminal.write("\r\n", () => done(undefined)))
    return trimmed(shown)
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

/** Without blanks at the end, whose style only says what was erased. */
function trimmed(cells) {
  return cells.slice(0, cells.findLastIndex(([text]) => text.trim()) + 1)
}

/** @param {import("../../trio_logs/web/rows/row.js").Run[]} runs */
function shown(runs) {
  const cells = []
  for (const { text, style } of runs) {
    for (const character of text) {
      const last = cells.at(-1)
      if (/[\p{Mn}\p{Me}\p{Cf}]/u.test(character) && last) last[0] += character
      else if (character === "\t") {
        do cells.push([" ", "-1,-1,0"])
        while (columns(cells) % 8)
      } else cells.push([character, [style.color, style.ground, style.flags].join()])
    }
  }
  return trimmed(cells)
}

function columns(cells) {
  return cells.reduce((sum, [text]) => sum + (/[\u2e80-\uffe6]/.test(text) ? 2 : 1), 0)
}

const textOf = (cells) => cells.map(([text]) => text).join("")
const visible = (cells) => cells.filter(([text]) => text.trim())

for (const name of readdirSync(RECORDINGS)) {
  test(`a recording of ${name} shows what a terminal shows`, async () => {
    const oracle = new Oracle()
    let style = look.PLAIN
    const lines = readFileSync(new URL(name, RECORDINGS), "utf8").split("\n")
    for (const [number, line] of lines.entries()) {
      const row = parseRow(line, style)
      style = row.style
      const expected = await oracle.show(line)
      assert.equal(textOf(shown(row.runs)), textOf(expected), `line ${number + 1}`)
      assert.deepEqual(visible(shown(row.runs)), visible(expected), `line ${number + 1}`)
    }
    assert.ok(lines.length > 20)
  })
}

/** The same numbers each time. Source: Marsaglia, "Xorshift RNGs". */
function random(seed) {
  let state = seed * 2654435761 + 1
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

function madeUp(next) {
  const one = (choices) => choices[next(choices.length)]
  const number = () => one(["", "0", "1", "2", "3", "5", "8", "40"])
  const colours = ["38;5;208", "48;5;17", "38;2;1;2;3", "48:2::9:8:7", "38:5:99", "58;5;3", "38;2;1;2;3;1"]
  // xterm leaves half of a wide character that it shifts, and shows it as nothing.
  const isWide = next(2) === 1
  const words = isWide ? ["日本", "한", "bc "] : ["bc ", "word"]
  const parts = [
    () => one(["a", ...words, "é", "e\u0301", " ", "x".repeat(9), "\t"]),
    () => `\x1b[${one(["", "0", "1", "2", "3", "4", "4:3", "4:0", "7", "8", "9", "21", "22", "24", "27", "31", "39", "44", "49", "53", "55", "92", "103", "1;31;44", ...colours])}m`,
    () => one(["\r", "\b", "\x07", "\x1b[m", "\x1b7", "\x1b8", "\x1b[s", "\x1b[u", "\x1b(B", "\x1b=", "\x1b[?25l", "\x1b[?2004h"]),
    () => `\x1b[${number()}${one([...(isWide ? "CDG`aXKKJEFAB" : "CDG`aXP@KKJEFAB")])}`,
    () => `\x1b[${one(["", "1"])};${number()}H`,
    () => `\x1b]${one(["0;title", "8;;https://example.org/", "8;;", "8;id=1;http://a/b"])}${one(["\x07", "\x1b\\"])}`,
    () => one(["\x1bP+q00\x1b\\", "\x1b_app\x1b\\", "\x1b^pm\x1b\\", "\x1bXsos\x1b\\"]),
  ]
  return Array.from({ length: next(24) }, () => one(parts)()).join("")
}

const ROUNDS = Number(process.env.ROUNDS ?? 400)

test(`${ROUNDS} random rows show what a terminal shows`, async () => {
  const next = random(Number(process.env.SEED ?? 1))
  const oracle = new Oracle()
  for (let round = 0; round < ROUNDS; round += 1) {
    const line = `\x1b[m\x1b7${madeUp(next)}`
    const expected = await oracle.show(line)
    const found = shown(parseRow(line).runs)
    assert.equal(textOf(found), textOf(expected), JSON.stringify(line))
    assert.deepEqual(visible(found), visible(expected), JSON.stringify(line))
  }
})

const text = (line) => parseRow(line).runs.map((run) => run.text).join("")

test("a plain line is one run", () => {
  assert.deepEqual(parseRow("<b>&amp;</b>").runs, [{ text: "<b>&amp;</b>", style: look.PLAIN, link: "" }])
  assert.deepEqual(parseRow("").runs, [])
})

test("the style of one line is that of the next", () => {
  const { style } = parseRow("\x1b[31mred")
  assert.equal(parseRow("still", style).runs[0].style.color, 1)
  assert.equal(parseRow("\x1b[0mnot", style).runs[0].style.color, -1)
})

test("only http and https are links", () => {
  const linkOf = (address) => parseRow(`\x1b]8;;${address}\x07go\x1b]8;;\x07`).runs[0].link
  assert.equal(linkOf("https://example.org/a;b?c"), "https://example.org/a;b?c")
  assert.equal(linkOf("HTTP://example.org"), "HTTP://example.org")
  for (const address of ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "//x", " https://x", "jAvascript:x", ""]) {
    assert.equal(linkOf(address), "", address)
  }
})

test("a link ends with its line, and where it is closed", () => {
  const [one, two] = parseRow("\x1b]8;;https://a/\x07in\x1b]8;;\x07out").runs
  assert.deepEqual([one.link, two.link], ["https://a/", ""])
})

test("a status bar in another row does not show", () => {
  assert.equal(text("Get:1\x1b7\x1b[24;0fProgress: [ 5%]\x1b8 more"), "Get:1 more")
})

test("a sequence that ends nowhere shows nothing", () => {
  for (const end of ["\x1b", "\x1b[", "\x1b[1;3", "\x1b]8;;https://a", "\x1bPdata", "\x1b]0;\x1b"]) {
    assert.equal(text(`a${end}`), "a", JSON.stringify(end))
  }
})

test("a hostile line takes bounded memory and time", () => {
  const wide = text(`a\x1b[999999999C\x1b[999999999bb\x1b[999999999@`)
  assert.ok(wide.length <= 2 * MAX_COLUMNS, `${wide.length}`)
  assert.ok(text("ab\r\x1b[4000@".repeat(5000)).length <= 2 * MAX_COLUMNS)
  assert.ok(text(`${"\x1b[4000C".repeat(5000)}b`).length <= 2 * MAX_COLUMNS)
  assert.ok(text("x\x1b[4000b".repeat(5000)).length <= 5000 + MAX_COLUMNS)
  const coloured = Array.from({ length: 20_000 }, (_, n) => `\x1b[3${n % 8}m${n % 10}`).join("")
  const { runs } = parseRow(coloured)
  assert.equal(runs.length, MAX_RUNS)
  assert.equal(runs.map((run) => run.text).join("").length, 20_000)
  assert.equal(text(`${"a\r".repeat(30_000)}b`), "b")
})

test("graphic characters of any plane stay whole", () => {
  assert.equal(text("🚀\b\bxy"), "xy")
  assert.equal(text("a🚀\rb"), "b🚀")
  assert.equal(text("日本\x1b[1D."), "日 .")
})
