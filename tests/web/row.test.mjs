// The row parser against xterm's, on recorded output of real programs and on random input.

import assert from "node:assert/strict"
import { readdirSync, readFileSync } from "node:fs"
import test from "node:test"

import { Cells, MAX_COLUMNS } from "../../trio_logs/web/rows/cells.js"
import { MAX_RUNS, parseRow } from "../../trio_logs/web/rows/row.js"
import * as look from "../../trio_logs/web/rows/style.js"
import { madeUp, random } from "./made_up_rows.mjs"
import { Oracle, parsed, text as shown, visible } from "./oracle.mjs"

const RECORDINGS = new URL("recordings/", import.meta.url)

for (const name of readdirSync(RECORDINGS)) {
  test(`a recording of ${name} shows what a terminal shows`, async () => {
    const oracle = new Oracle()
    let style = look.PLAIN
    const lines = readFileSync(new URL(name, RECORDINGS), "utf8").split("\n")
    for (const [number, line] of lines.entries()) {
      const found = parsed(line, style)
      style = found.style
      const expected = await oracle.show(line)
      assert.equal(shown(found.cells), shown(expected), `line ${number + 1}`)
      assert.deepEqual(visible(found.cells), visible(expected), `line ${number + 1}`)
    }
    assert.ok(lines.length > 20)
  })
}

const ROUNDS = Number(process.env.ROUNDS ?? 400)
const SEED = Number(process.env.SEED ?? 1)

test(`${ROUNDS} random rows of seed ${SEED} show what a terminal shows`, async () => {
  const next = random(SEED)
  const oracle = new Oracle()
  for (let round = 0; round < ROUNDS; round += 1) {
    const line = `\x1b[m\x1b7${madeUp(next)}`
    const expected = await oracle.show(line)
    const found = parsed(line).cells
    assert.equal(shown(found), shown(expected), JSON.stringify(line))
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

test("a string that is cut short hides no text that follows its cut", () => {
  for (const cut of ["\x1b]0;title\x1b[31m", "\x1b]8;;https://a\x1b[m", "\x1bPdata\x18", "\x1b]0;\x1a", "\x1b_app\x1b\\"]) {
    assert.equal(text(`a${cut}b`), "ab", JSON.stringify(cut))
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

test("a row that erases again and again makes no cell anew", () => {
  const cells = new Cells()
  cells.write("x".repeat(MAX_COLUMNS), look.PLAIN, "")
  for (let round = 0; round < 100; round += 1) cells.erase(0, Infinity, look.PLAIN)
  assert.equal(new Set(cells.cells).size, 1)
  // A mark that combines with one of them leaves the others.
  cells.moveTo(3)
  cells.write("\u0301", look.PLAIN, "")
  assert.deepEqual(cells.cells.slice(1, 4).map((cell) => cell.text), [" ", " \u0301", " "])
})
