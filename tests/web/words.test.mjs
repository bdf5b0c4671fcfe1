// What addresses mean, and how numbers, times and outcomes read.

import assert from "node:assert/strict"
import test from "node:test"

import { formatAddress, parseAddress } from "../../trio_logs/web/address.js"
import * as format from "../../trio_logs/web/format.js"
import { timeOf, zone } from "../../trio_logs/web/log/times.js"

const parse = (address) => parseAddress(new URL(address, "http://host"))

test("an address that the page makes means what it showed", () => {
  for (const address of [
    "/",
    "/search?find=error",
    "/w/a1_-",
    "/w/a,b?view=merged",
    "/w/a?find=a+b%26&case=true&regex=true&only=true&stream=stderr&wrap=true&times=utc#L10-L20",
    "/w/a#L1234",
    "/w/a,b#b:L5",
  ]) {
    assert.equal(formatAddress(parse(address)), address)
  }
})

test("what is as by default is left out, and what is wrong is ignored", () => {
  assert.equal(formatAddress(parse("/w/a?find=&case=true&times=local&wrap=false&other=1#nonsense")), "/w/a")
  assert.equal(formatAddress(parse("/w/a?times=never#L0")), "/w/a")
  assert.deepEqual(parse("/w/a#L20-L10").target, { id: "", from: 10, to: 20 })
  assert.deepEqual(parse("/w/a#L10-20").target, { id: "", from: 10, to: 20 })
  assert.equal(parse("/nowhere").page, "list")
  assert.equal(parse("/w/").page, "list")
})

test("a code is seen, and is no part of the address", () => {
  const place = parse("/w/a?wrap=true#code=abc_-1")
  assert.equal(place.code, "abc_-1")
  assert.equal(formatAddress(place), "/w/a?wrap=true")
})

test("numbers, sizes and durations", () => {
  assert.deepEqual([0, 999, 1000, 1_204_607].map(format.grouped), ["0", "999", "1,000", "1,204,607"])
  assert.deepEqual([0, 999, 1000, 98_400_000, 999_990_000, 5e15].map(format.size), ["0 B", "999 B", "1.0 kB", "98.4 MB", "1.0 GB", "5000.0 TB"])
  assert.deepEqual([0, 0.64, 9.99, 59.9, 123, 3723, 90_000].map(format.duration), ["0.0 s", "0.6 s", "10.0 s", "59 s", "2 min 03 s", "1 h 02 min", "1 d 01 h"])
  assert.deepEqual([3, 123, 11_529].map(format.clock), ["0:03", "2:03", "3:12:09"])
  assert.deepEqual([3, 240, 7300, 100_000, 400_000].map(format.age), ["now", "4 min", "2 h", "yesterday", "4 d"])
})

const workload = { status: "failed", reason: "exited", exit_code: 2, signal: null, error: null, started_at: "2026-01-31T12:00:00Z", finished_at: "2026-01-31T12:02:14Z" }

test("outcomes in words", () => {
  const words = (changes) => format.outcome({ ...workload, ...changes }, Date.parse("2026-01-31T12:02:03Z"))
  assert.equal(words({}), "failed with exit code 2 after 2 min 14 s")
  assert.equal(words({ exit_code: null, signal: "SIGKILL", reason: "signaled" }), "failed by SIGKILL after 2 min 14 s")
  assert.equal(words({ exit_code: null, signal: "SIGKILL", reason: "out_of_memory" }), "failed: out of memory after 2 min 14 s")
  assert.equal(words({ exit_code: null, reason: "not_started", error: "no such file" }), "could not be started: no such file")
  assert.equal(words({ exit_code: null, reason: "exception", error: "ValueError: x" }), "failed after 2 min 14 s: ValueError: x")
  assert.equal(words({ status: "running", finished_at: null }), "running for 2 min 03 s")
  assert.equal(words({ status: "queued", started_at: null }), "queued")
  assert.equal(words({ status: "succeeded", exit_code: 0 }), "succeeded after 2 min 14 s")
  assert.equal(words({ status: "timed_out" }), "timed out after 2 min 14 s")
  assert.equal(words({ status: "stopped", reason: "stop_requested" }), "stopped after 2 min 14 s")
  assert.equal(words({ status: "lost", reason: "server_lost" }), "lost: the service died while it ran")
})

test("times of lines", () => {
  const time = "2026-01-31T12:00:03.014999Z"
  const start = Date.parse("2026-01-31T10:58:00Z")
  assert.equal(timeOf(time, "utc", start), "12:00:03.014")
  assert.equal(timeOf(time, "start", start), "1:02:03.014")
  assert.equal(timeOf(time, "start", Date.parse("2026-01-31T12:00:00Z")), "0:03.014")
  assert.equal(timeOf(time, "none", start), "")
  assert.match(timeOf(time, "local", start), /^\d\d:\d\d:03\.014$/)
  assert.deepEqual([-60, 0, 210, -345].map(zone), ["UTC+01:00", "UTC+00:00", "UTC-03:30", "UTC+05:45"])
})
