// Places on the scroll bar, and rows of lines: arithmetic against the plain way to do it.

import assert from "node:assert/strict"
import test from "node:test"

import { Gaps } from "../../trio_logs/web/log/gaps.js"
import { Lines } from "../../trio_logs/web/log/lines.js"
import { Loader } from "../../trio_logs/web/log/loader.js"
import { LogModel } from "../../trio_logs/web/log/model.js"
import { RowMap } from "../../trio_logs/web/log/row_map.js"
import { Scale, TALLEST } from "../../trio_logs/web/scroll/scale.js"

const VIEW = 600

test("a list that fits is to scale", () => {
  const scale = new Scale(1000, 18, VIEW)
  assert.equal(scale.height, 18_000)
  assert.equal(scale.end, 18_000 - VIEW)
  for (const place of [0, 1, 777, scale.end]) {
    assert.equal(scale.positionOf(place), place)
    assert.equal(scale.distanceAt(place), place)
  }
  assert.equal(scale.positionOf(99_999), scale.end)
})

test("a list that is shorter than the view has no scroll bar", () => {
  const scale = new Scale(3, 18, VIEW)
  assert.equal(scale.height, VIEW)
  assert.equal(scale.end, 0)
})

for (const count of [500_000, 1_000_000, 10_000_000, 1_000_000_000]) {
  test(`${count} rows: both ends are true, and there and back is the same place`, () => {
    const scale = new Scale(count, 18, VIEW)
    const whole = count * 18
    assert.equal(scale.height, TALLEST)
    assert.equal(scale.positionOf(0), 0)
    assert.equal(scale.positionOf(whole - VIEW), scale.end)
    assert.equal(scale.distanceAt(scale.end), whole - VIEW)
    for (const near of [1, 50, 1000]) {
      assert.equal(scale.positionOf(near), near)
      assert.equal(scale.positionOf(whole - VIEW - near), scale.end - near)
    }
    let before = -1
    for (let part = 0; part <= 1; part += 0.001) {
      const distance = part * (whole - VIEW)
      const position = scale.positionOf(distance)
      assert.ok(position > before, "it grows")
      before = position
      assert.ok(Math.abs(scale.distanceAt(position) - distance) < 1e-6 * whole + 1e-6)
    }
  })
}

/** The rows of lines up to `last`, each with the line that it starts at, found by going over them. */
function rowsOf(gaps, last) {
  const rows = []
  for (let line = 1; line <= last; line += 1) {
    const gap = gaps.find(({ from, to }) => from <= line && line <= to)
    if (gap && line > gap.from) continue
    rows.push(line)
  }
  return rows
}

function isMapOf(map, rows, last) {
  assert.equal(map.count(last), rows.length)
  rows.forEach((line, row) => assert.equal(map.lineOf(row), line))
  for (let line = 1; line <= last; line += 1) {
    assert.equal(map.rowOf(line), rows.findLastIndex((each) => each <= line), `line ${line}`)
  }
}

test("lines without a row, in ranges that overlap, nest, or go on", () => {
  let state = 11
  const next = (below) => (state = (state * 1103515245 + 12345) & 0x7fffffff) % below
  for (let round = 0; round < 400; round += 1) {
    const ranges = Array.from({ length: next(8) }, () => {
      const from = 2 + next(60)
      return { from, to: next(9) ? from + next(20) - 1 : Infinity }
    })
    const rows = Array.from({ length: 80 }, (_, place) => place + 1).filter((line) => !ranges.some(({ from, to }) => from <= line && line <= to))
    isMapOf(new RowMap(ranges), rows, 80)
  }
})

test("gaps take one row each, however they come", () => {
  let state = 7
  const next = (below) => (state = (state * 1103515245 + 12345) & 0x7fffffff) % below
  for (let round = 0; round < 400; round += 1) {
    const gaps = new Gaps()
    const missing = new Map()
    for (let each = next(7); each >= 0; each -= 1) {
      const from = 1 + next(60)
      const gap = { from, to: from + next(12), reason: ["retention", "store"][next(2)] }
      gaps.add(gap)
      for (let line = gap.from; line <= gap.to; line += 1) missing.set(line, gap.reason)
    }
    const found = new Map(gaps.all.flatMap(({ from, to, reason }) => Array.from({ length: to - from + 1 }, (_, place) => [from + place, reason])))
    assert.deepEqual([...found].sort((a, b) => a[0] - b[0]), [...missing].sort((a, b) => a[0] - b[0]))
    for (const [one, other] of gaps.all.map((gap, place) => [gap, gaps.all[place + 1]])) {
      if (other) assert.ok(one.to < other.from && !(one.to + 1 === other.from && one.reason === other.reason))
    }
    for (let line = 1; line <= 80; line += 1) assert.equal(gaps.of(line)?.reason, missing.get(line))
    const rows = rowsOf(gaps.all, 80)
    isMapOf(new RowMap(gaps.all.map(({ from, to }) => ({ from: from + 1, to }))), rows, 80)
  }
})

const line = (seq, text = `line ${seq}`, stream = "stdout") => ({ seq, time: "2026-01-31T12:00:00Z", stream, text })

test("the rows of a log: lines, gaps, unfinished lines, and its end", () => {
  const model = new LogModel()
  model.take([{ event: "gap", from: 1, to: 3, reason: "retention" }, line(4), line(6)])
  model.setUnfinished({ stdout: "67 %", stderr: "" })
  model.hasEnded = true
  assert.deepEqual(
    Array.from({ length: model.count }, (_, row) => model.keyOf(row)),
    ["L1", "L4", "L5", "L6", "stdout", "end"],
  )
  assert.deepEqual(model.at(0), { kind: "gap", from: 1, to: 3, reason: "retention" })
  assert.deepEqual(model.at(2), { kind: "line", number: 5, line: undefined })
  assert.deepEqual(model.at(4), { kind: "unfinished", stream: "stdout", text: "67 %" })
  assert.deepEqual(model.at(5), { kind: "end" })
  for (let row = 0; row < model.count; row += 1) assert.equal(model.indexOf(model.keyOf(row)), row)
  assert.equal(model.indexOf("L7"), -1)
  assert.equal(model.indexOf("stderr"), -1)
  assert.deepEqual(model.missing(1, 6), [5, 5])
  assert.equal(model.missing(1, 4), undefined)
  model.take([{ event: "reset", reason: "beyond_head" }])
  assert.equal(model.head, 0)
  assert.equal(model.lines.get(4), undefined)
})

test("the lines in memory are bounded, in number and in size", () => {
  const lines = new Lines()
  for (let seq = 1; seq <= 100_000; seq += 1) lines.put(line(seq))
  const kept = Array.from({ length: 100_000 }, (_, place) => lines.get(place + 1)).filter(Boolean)
  assert.ok(kept.length <= 16_384 && kept.length > 16_000, `${kept.length}`)
  assert.ok(lines.get(100_000))
  // What is in view stays.
  lines.use([90_000, 90_010])
  for (let seq = 200_001; seq <= 216_000; seq += 1) lines.put(line(seq))
  assert.ok(lines.get(90_005))
  assert.ok(!lines.get(99_000))
  for (let seq = 300_001; seq <= 301_000; seq += 1) lines.put(line(seq, "x".repeat(60_000)))
  let size = 0
  for (let seq = 1; seq <= 301_000; seq += 1) size += lines.get(seq)?.text.length ?? 0
  assert.ok(size <= 8_000_000, `${size}`)
})

test("lines in view arrive and stay, however long they are", async () => {
  const model = new LogModel()
  model.head = 200
  const read = async (/** @type {string} */ range) => {
    const [from = 0, to = 0] = [...range.matchAll(/\d+/g)].map(Number)
    const answer = []
    for (let seq = from; seq <= to; seq += 1) answer.push(JSON.stringify(line(seq, "x".repeat(64_000))) + "\n")
    return new Response(new Blob(answer).stream())
  }
  const [first, last] = [100, 140]
  // As a view does: it says what shows, and asks again whenever something came.
  await new Promise((done, fail) => {
    let asked = 0
    const show = () => {
      model.lines.use([first, 128, last])
      if (!model.missing(first, last)) done(undefined)
      else if ((asked += 1) > 500) fail(new Error(`${model.missing(first, last)} are missing`))
      else loader.want(first, last)
    }
    const loader = new Loader(model, read, () => queueMicrotask(show), fail)
    show()
  })
  assert.ok(model.lines.get(first) && model.lines.get(last))
})

test("each stream carries its colour from line to line", () => {
  const lines = new Lines()
  const all = [line(1, "\x1b[31mred"), line(2, "plain", "stderr"), line(3, "still red"), line(4, "\x1b[0mplain")]
  for (const each of all) lines.put(each)
  const colours = all.map((each) => lines.rowOf(each).runs[0].style.color)
  assert.deepEqual(colours, [1, -1, 1, -1])
  // In any order, and without the lines before.
  const later = new Lines()
  for (const each of all) later.put({ ...each })
  assert.equal(later.rowOf(later.get(3)).runs[0].style.color, 1)
  const alone = new Lines()
  alone.put(all[2])
  assert.equal(alone.rowOf(all[2]).runs[0].style.color, -1)
})
