// The row parser on hostile input for SECONDS, from SEED on: `make fuzz` runs it.
//
// Each round has rows that a terminal agrees on, and rows of mutated bytes, which must neither throw
// nor grow beyond the bounds, nor take long.

import assert from "node:assert/strict"
import { readdirSync, readFileSync } from "node:fs"

import { MAX_COLUMNS } from "../../trio_logs/web/rows/cells.js"
import { MAX_RUNS, parseRow } from "../../trio_logs/web/rows/row.js"
import { madeUp, random } from "./made_up_rows.mjs"

const SECONDS = Number(process.env.SECONDS ?? 600)
const SEED = Number(process.env.SEED ?? 1)
/** Of the processor, so that a busy machine does not matter. */
const LONGEST_MS = 500

const recordings = new URL("recordings/", import.meta.url)
const lines = readdirSync(recordings).flatMap((name) =>
  readFileSync(new URL(name, recordings), "utf8").split("\n"),
)
const PIECES = [
  "\x1b", "\x1b[", "\x9b", "\x1b]8;;http://x\x07", "\x1b]8;;javascript:x\x1b\\", "\x07", "\x9c", "m", ";",
  ":", "38;5;", "38:2::1:2:3m", "\r", "\b", "\t", "\x1b[K", "\x1b[999999999C", "\x1b[-1D", "\x1b[4294967296G",
  "\u202e", "\u200d", "\ud83d", "\udc68", "e\u0301", "한", "👩‍👩‍👧‍👧", "\0", "\x7f", "\x85", "\u2028", "\x1bP", "\x1b\\",
]

// `next(n)` is a whole number below n.
const mutated = (next) => {
  let row = next(3) ? madeUp(next) : lines[next(lines.length)]
  for (let count = next(6); count > 0; count -= 1) {
    const place = next(row.length + 1)
    const piece = next(4) ? PIECES[next(PIECES.length)] : String.fromCharCode(next(0x10000))
    const gone = next(4)
    row = row.slice(0, place) + piece.repeat(next(20) ? 1 : 5000) + row.slice(place + gone)
  }
  return row
}

let style
let inputs = 0
const deadline = Date.now() + SECONDS * 1000
const next = random(SEED)
do {
  const row = mutated(next)
  const used = process.cpuUsage()
  let found
  try {
    found = style === undefined ? parseRow(row) : parseRow(row, style)
    const text = found.runs.map((run) => run.text).join("")
    assert.ok(found.runs.length <= MAX_RUNS + 1, `${found.runs.length} runs`)
    assert.ok([...text].length <= 2 * row.length + MAX_COLUMNS, `${text.length} characters`)
    assert.ok(!/[\x00-\x08\x0a-\x1f\x7f-\x9f]/.test(text), "a control is shown")
    for (const run of found.runs) {
      assert.ok(run.link === "" || /^https?:/i.test(run.link), `a link to ${run.link}`)
    }
    assert.ok(process.cpuUsage(used).user < LONGEST_MS * 1000, "it takes too long")
  } catch (error) {
    console.log(`row: a finding with seed ${SEED}: ${JSON.stringify(row).slice(0, 2000)}`)
    throw error
  }
  style = next(10) ? found.style : undefined
  inputs += 1
} while (Date.now() < deadline)
console.log(`row: nothing in ${inputs} inputs, ${SECONDS} s`)
