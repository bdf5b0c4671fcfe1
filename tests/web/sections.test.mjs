// The sections of a log: which lines begin and end them, what they hide, and what is known of them.

import assert from "node:assert/strict"
import test from "node:test"

import { Coverage, MOST_RANGES } from "../../trio_logs/web/log/coverage.js"
import { LogModel } from "../../trio_logs/web/log/model.js"
import { marksOf, PATTERN, withoutMarks } from "../../trio_logs/web/log/section_marks.js"
import { canFold, MOST_MARKED, MOST_SEARCHED, Sections } from "../../trio_logs/web/log/sections.js"

const line = (seq, text) => ({ seq, time: new Date(seq * 1000).toISOString(), stream: "stdout", text })

/** Sections of a log with these lines. */
function sectionsOf(...texts) {
  const sections = new Sections()
  sections.head = texts.length
  texts.forEach((text, place) => sections.see(line(place + 1, text)))
  return sections
}

const rangesOf = (sections) => sections.foldable().map(({ from, to }) => [from, to])

const shown = (text) => withoutMarks(text, marksOf(text))
const service = new RegExp(PATTERN)
/** As the service looks at it. */
const visible = (text) => text.replace(/\x1b\[[0-?]*[ -/]*[@-~]/g, "")

test("marks of sections do not show, and the service finds each line that has some", () => {
  for (const [text, title] of [
    ["::group::Install", "Install"],
    ["  ::group::Install", "  Install"],
    ["\x1b[36m::group::In \x1b[1mbold", "\x1b[36mIn \x1b[1mbold"],
    ["##[group]Run make", "Run make"],
    ["::endgroup::", ""],
    ["##[endgroup]", ""],
    ["--- :docker: Build", ":docker: Build"],
    ["\x1b[1m+++ Tests", "\x1b[1mTests"],
    ["~~~ Preparing", "Preparing"],
    ["^^^ +++", ""],
    ["\x1b[0Ksection_start:1700000000:my_part.1[collapsed=true]\r\x1b[0K\x1b[36mTitle", "\x1b[0K\x1b[36mTitle"],
    ["section_start:1700000000:part\rTitle", "Title"],
    ["section_end:1700000000:part\r\x1b[0K", ""],
    ["section_end:1700000000:part", ""],
    ["section_end:1:one\r\x1b[0Ksection_start:1:two\r\x1b[0KTwo", "Two"],
  ]) {
    assert.ok(marksOf(text).length, text)
    assert.equal(shown(text), title)
    assert.match(visible(text), service)
  }
})

test("what only looks like a mark is a line like any other", () => {
  for (const text of [
    "a ::group::",
    "---",
    "--- ",
    "---- heading",
    "--- PASS: TestIt (0.00s)",
    "--- example.org ping statistics ---",
    "^^^ here",
    "echo section_start:`date`:name",
    "grep section_start:1700000000:part: found",
    "plain",
  ]) {
    assert.deepEqual(marksOf(text), [], text)
    assert.equal(shown(text), text)
  }
})

test("sections nest, and end where their own mark says", () => {
  const ofGitLab = (kind, name) => `section_${kind}:1:${name}\r\x1b[0K`
  assert.deepEqual(rangesOf(sectionsOf("::group::a", "x", "::group::b", "y", "::endgroup::", "z", "::endgroup::", "end")), [[1, 7], [3, 5]])
  // The end of an outer section ends those in it.
  assert.deepEqual(rangesOf(sectionsOf(`${ofGitLab("start", "a")}A`, `${ofGitLab("start", "b")}B`, "x", ofGitLab("end", "a"), "y")), [[1, 4], [2, 4]])
  // A line may end one and begin another, or go on with text: it stays when the section closes.
  assert.deepEqual(rangesOf(sectionsOf(`${ofGitLab("start", "a")}A`, "x", `${ofGitLab("end", "a")}${ofGitLab("start", "b")}B`, "y", `${ofGitLab("end", "b")}done`)), [[1, 2], [3, 4]])
  // Those of Buildkite end with the next one, and the last one with the log.
  assert.deepEqual(rangesOf(sectionsOf("--- a", "x", "::group::in", "y", "+++ b", "^^^ +++", "z")), [[1, 4], [3, 4], [5, Infinity]])
  // One without lines has nothing to hide; an end without a start ends nothing.
  assert.deepEqual(rangesOf(sectionsOf("--- a", "--- b", "::endgroup::", "--- c")), [[2, 3], [4, Infinity]])
  // A diff names two files.
  assert.deepEqual(rangesOf(sectionsOf("--- a/x.py", "+++ b/x.py", "--- x.c\t2026-01-31", "+++ x.c\t2026-01-31", "--- b", "+++ c", "x")), [[6, Infinity]])
})

test("how much a section has, and how long it took", () => {
  const sections = sectionsOf("::group::a", "x", "y", "::endgroup::", "--- b", "x", "--- c")
  assert.deepEqual(sections.at(1), { from: 1, to: 4, time: 1000, until: 4000, lines: 2 })
  assert.deepEqual(sections.at(5), { from: 5, to: 6, time: 5000, until: 7000, lines: 1 })
  assert.deepEqual(sections.at(7), { from: 7, to: Infinity, time: 7000, until: NaN, lines: Infinity })
  assert.equal(sections.at(2), undefined)
  assert.deepEqual(sections.around(3).map(({ from }) => from), [1])
})

const rowsOf = (model) => Array.from({ length: model.count }, (_, row) => model.keyOf(row))

test("the rows of closed sections go, and lines that come add to them", () => {
  const model = new LogModel()
  model.take([line(1, "::group::a"), line(2, "x"), line(3, "::group::b"), line(4, "y")])
  model.sections.fold(3, true)
  assert.deepEqual(rowsOf(model), ["L1", "L2", "L3"])
  model.take([line(5, "z"), line(6, "::endgroup::"), line(7, "w")])
  model.hasEnded = true
  assert.deepEqual(rowsOf(model), ["L1", "L2", "L3", "L7", "end"])
  for (let row = 0; row < model.count; row += 1) assert.equal(model.indexOf(model.keyOf(row)), row)
  assert.equal(model.indexOf("L5"), 2)
  model.sections.fold(1, true)
  assert.deepEqual(rowsOf(model), ["L1", "end"])
  model.sections.fold(1, false)
  model.sections.fold(3, false)
  assert.equal(model.lineRows, 7)
  model.sections.fold(3, true)
  // Lines that are missing may have had any mark.
  model.take([{ event: "gap", from: 1, to: 3, reason: "retention" }])
  assert.deepEqual(rowsOf(model), ["L1", "L4", "L5", "L6", "L7", "end"])
  model.take([{ event: "reset", reason: "beyond_head" }])
  assert.equal(model.sections.at(1), undefined)
})

test("in a long log, a section is known once all its lines were looked at", () => {
  const sections = new Sections()
  sections.head = MOST_SEARCHED + 100
  const see = (from, ...texts) => texts.forEach((text, place) => sections.see(line(from + place, text)))
  see(10, "::group::a", "x")
  see(14, "y", "::endgroup::")
  assert.ok(!canFold(sections.at(10)))
  assert.deepEqual(sections.foldable(), [])
  see(12, "z", "z")
  assert.deepEqual(rangesOf(sections), [[10, 15]])
  // At the end of the log, it goes on.
  see(sections.head - 1, "::group::last", "x")
  assert.deepEqual(rangesOf(sections), [[10, 15], [sections.head - 1, Infinity]])
})

test("the marks in memory are bounded, those of the first lines go", () => {
  const sections = new Sections()
  for (let seq = 1; seq <= MOST_MARKED + 1; seq += 1) {
    sections.head = seq
    sections.see(line(seq, seq % 2 ? "::group::a" : "::endgroup::"))
  }
  assert.ok(!sections.isWhole)
  const half = MOST_MARKED / 2
  assert.equal(sections.marksAt(half), undefined)
  assert.ok(sections.marksAt(half + 2))
  assert.equal(sections.foldable().at(-1).from, MOST_MARKED + 1)
  assert.deepEqual(sections.coverage.missing(sections.head), [1, half])
})

test("which lines were looked at, against a set", () => {
  let state = 5
  const next = (below) => (state = (state * 1103515245 + 12345) & 0x7fffffff) % below
  for (let round = 0; round < 300; round += 1) {
    const coverage = new Coverage()
    const seen = new Set()
    for (let each = next(8); each >= 0; each -= 1) {
      const from = 1 + next(40)
      const to = from + next(10)
      coverage.add(from, to)
      for (let number = from; number <= to; number += 1) seen.add(number)
    }
    assert.deepEqual(coverage.all.flatMap(({ from, to }) => Array.from({ length: to - from + 1 }, (_, place) => from + place)), [...seen].sort((a, b) => a - b))
    const holes = Array.from({ length: 50 }, (_, place) => place + 1).filter((number) => !seen.has(number))
    assert.deepEqual(coverage.missing(50), [holes[0], holes.at(-1)])
  }
})

test("lines far apart take no more memory than some ranges, the longest ones", () => {
  const coverage = new Coverage()
  coverage.add(1, 10)
  for (let line = 100; line <= 300_000; line += 3) coverage.add(line, line)
  assert.ok(coverage.all.length <= MOST_RANGES, `${coverage.all.length}`)
  assert.deepEqual(coverage.all[0], { from: 1, to: 10 })
  assert.deepEqual(coverage.all.at(-1), { from: 299_998, to: 299_998 })
})
