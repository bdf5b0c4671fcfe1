// Several logs as one: their order, their names, and that no line is lost or doubled.

import assert from "node:assert/strict"
import { once } from "node:events"
import { readFileSync } from "node:fs"
import http from "node:http"
import test from "node:test"

import { formatAddress, parseAddress, withLogs } from "../../trio_logs/web/address.js"
import { MergedFeed, TAIL } from "../../trio_logs/web/several/merged_feed.js"
import { MergedModel, MOST_ROWS } from "../../trio_logs/web/several/merged_model.js"
import { COLOURS, namesOf } from "../../trio_logs/web/several/names.js"

const timeOf = (number) => `2026-01-31T12:00:00.${String(number).padStart(6, "0")}Z`
const line = (workload, seq, time, text = "") => ({ workload, seq, time: timeOf(time), stream: "stdout", text })
const keysOf = ({ rows }) => rows.map(({ key }) => key)

test("other logs in the same view keep the line that the address points at", () => {
  const place = (address) => parseAddress(new URL(address, "http://host"))
  const to = (address, ids) => formatAddress(withLogs(place(address), ids))
  assert.equal(to("/w/a?wrap=true#L5", ["a", "b"]), "/w/a,b?wrap=true#a:L5")
  assert.equal(to("/w/a,b?view=merged#b:L5-L7", ["b"]), "/w/b#L5-L7")
  assert.equal(to("/w/a,b#b:L5", ["a"]), "/w/a")
  assert.equal(to("/w/a,b?find=x#b:L5", ["a", "b", "c"]), "/w/a,b,c?find=x#b:L5")
  assert.equal(to("/w/a", []), "/")
  assert.equal(formatAddress(place("/search?find=x&label=a%3Db&label=c%3Dd&status=lost")), "/search?find=x&label=a%3Db&label=c%3Dd&status=lost")
})

test("names have colours of their own, the same ones again tomorrow", () => {
  const logs = (names) => names.map((name, place) => ({ id: `id-${place}xyz${place}`, name }))
  const colours = (names) => [...namesOf(logs(names)).values()].map(({ colour }) => colour)
  const eight = ["build", "test", "deploy", "api", "web", "db", "worker", "cron"]
  assert.equal(new Set(colours(eight)).size, COLOURS)
  assert.deepEqual(colours(eight.slice(0, 3)), colours(eight).slice(0, 3))
  assert.equal(colours([...eight, "i", "j"]).length, 10)
  const same = [...namesOf(logs(["build", "build", "lint"])).values()].map(({ name }) => name)
  assert.deepEqual(same, ["build xyz0", "build xyz1", "lint"])
})

test("colours of names have a contrast of 4.5 in both themes, on lines that an address points at, too", () => {
  const [themes, several] = ["theme", "several"].map((name) => readFileSync(new URL(`../../trio_logs/web/styles/${name}.css`, import.meta.url), "utf8"))
  const part = (text, theme) => text.slice(text.indexOf(`[data-theme="${theme}"] {`)).split("}")[0]
  const luminance = (colour) => {
    const [red, green, blue] = [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16) / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
  }
  let count = 0
  for (const theme of ["dark", "light"]) {
    for (const ground of ["bg", "target"]) {
      const behind = luminance(new RegExp(`--${ground}: (#\\w{6})`).exec(part(themes, theme))[1])
      for (const [, name, colour] of part(several, theme).matchAll(/--(n\d): (#\w{6})/g)) {
        const [light, dark] = [luminance(colour), behind].sort((one, other) => other - one)
        assert.ok((light + 0.05) / (dark + 0.05) >= 4.5, `${theme} ${name} on ${ground}: ${(light + 0.05) / (dark + 0.05)}`)
        count += 1
      }
    }
  }
  assert.equal(count, 4 * COLOURS)
})

test("lines come in the order of their times; each log keeps its own", () => {
  const model = new MergedModel(["a", "b"])
  model.append([line("a", 1, 10), line("a", 2, 30), line("b", 1, 40)])
  // A message of one log brings lines from before those of another.
  model.append([line("b", 2, 50), line("b", 3, 90)])
  model.append([line("a", 3, 45), line("a", 4, 60), line("a", 4, 60), line("a", 2, 30)])
  assert.deepEqual(keysOf(model), ["a:L1", "a:L2", "b:L1", "a:L3", "b:L2", "a:L4", "b:L3"])
  // Whose clock went back.
  model.append([line("b", 4, 20), line("a", 5, 91)])
  assert.deepEqual(keysOf(model).slice(-3), ["b:L3", "b:L4", "a:L5"])
  assert.deepEqual(keysOf(model).map((key) => model.indexOf(key)), [...model.rows.keys()])
  assert.equal(model.indexOf("a:L9"), -1)
})

test("gaps, ends, a log that starts anew, and one that is unknown", () => {
  const model = new MergedModel(["a", "b"])
  model.append([{ event: "position", id: "0.0.0" }, { event: "gap", workload: "a", from: 1, to: 4, reason: "retention" }, line("a", 5, 1), line("b", 1, 2)])
  model.append([{ event: "end", workload: "b", lines: 1 }, { event: "end", workload: "b", lines: 1 }, { event: "gone", workload: "c" }])
  assert.deepEqual(keysOf(model), ["a:G4", "a:L5", "b:L1", "b:end"])
  assert.deepEqual(model.cut, [])
  assert.ok(!model.hasEnded)
  model.append([{ event: "reset", workload: "a", reason: "beyond_head" }, line("a", 1, 3)])
  assert.deepEqual(keysOf(model), ["b:L1", "b:end", "a:L1"])
  model.append([{ event: "gone", workload: "a" }])
  assert.ok(model.hasEnded)
  assert.ok(model.rows.at(-1).isGone)
})

test("earlier lines go where their times are, and the view says what it lacks", () => {
  const model = new MergedModel(["a", "b"])
  model.append([line("b", 7, 5), line("a", 101, 50), line("b", 8, 60)])
  model.markStarts()
  assert.deepEqual(keysOf(model), ["b:L7", "a:start", "a:L101", "b:L8"])
  assert.equal(model.rows[1].before, 100)
  assert.deepEqual(model.cut, ["a", "b"])
  model.prepend("a", [line("a", 99, 4), line("a", 100, 49), line("a", 101, 50)])
  assert.deepEqual(keysOf(model), ["a:L99", "b:start", "b:L7", "a:L100", "a:L101", "b:L8"])
  // All that is left of the log before it was removed.
  model.prepend("b", [{ event: "gap", from: 1, to: 6, reason: "retention" }])
  assert.deepEqual(keysOf(model), ["b:G6", "a:start", "a:L99", "b:L7", "a:L100", "a:L101", "b:L8"])
  assert.deepEqual(model.cut, ["a"])
  model.prepend("a", [])
  assert.deepEqual(model.cut, [])
  model.append([line("a", 102, 61)])
  assert.equal(keysOf(model).at(-1), "a:L102")
})

test("a view keeps no more rows than its bound, the newest", () => {
  const model = new MergedModel(["a", "b"])
  const count = MOST_ROWS + 1000
  model.append([line("b", 1, 0)])
  for (let seq = 1; seq <= count; seq += 1) model.append([line("a", seq, seq)])
  assert.ok(model.trim())
  assert.ok(!model.trim())
  assert.ok(model.rows.length <= MOST_ROWS)
  assert.equal(model.rows.at(-1).key, `a:L${count}`)
  assert.deepEqual(model.cut, ["a", "b"])
  assert.equal(model.logs.get("b").first, 2)
  const { first } = model.logs.get("a")
  assert.equal(model.rows[0].key, `a:L${first}`)
  model.prepend("a", [line("a", first - 1, first - 1)])
  assert.equal(model.indexOf(`a:L${first - 1}`), 0)
})

/** A service over real HTTP with some logs, whose lines have the time of their place among all. */
class Service {
  logs = new Map()
  ended = new Set()
  time = 0
  asked = []
  refusals = 0

  static async open(t, ids) {
    const service = new Service()
    for (const id of ids) service.logs.set(id, [])
    service.server = http.createServer((request, response) => service.#answer(request, response))
    service.server.listen(0, "127.0.0.1")
    await once(service.server, "listening")
    t.after(() => service.server.close())
    service.url = `http://127.0.0.1:${service.server.address().port}`
    return service
  }

  write(id, count) {
    const lines = this.logs.get(id)
    for (let number = 0; number < count; number += 1) lines.push(line(id, lines.length + 1, (this.time += 1)))
  }

  /** What the shared stream says: the last lines of those that are new, as a message to a tab has them. */
  news(id, count, most) {
    const lines = this.logs.get(id)
    const events = this.ended.has(id) ? [{ event: "end", workload: id }] : []
    return { id, head: lines.length, lines: lines.slice(Math.max(lines.length - count, lines.length - most)), events, unfinished: {} }
  }

  #answer(request, response) {
    const url = new URL(request.url, this.url)
    this.asked.push(url)
    if (this.refusals > 0) {
      this.refusals -= 1
      response.destroy()
      return
    }
    const tail = url.searchParams.get("tail")
    const [, one] = /^\/v1\/workloads\/(\w+)\/logs$/.exec(url.pathname) ?? []
    let found = []
    if (one) found = this.logs.get(one).slice(0, Number(url.searchParams.get("to"))).slice(-tail).map(({ workload, ...rest }) => rest)
    for (const [id, after] of one ? [] : url.searchParams.getAll("workload").map((each) => each.split("."))) {
      const lines = this.logs.get(id)
      found.push(...(after === undefined ? lines.slice(-tail) : lines.slice(Number(after))))
    }
    found.sort((first, second) => (first.time < second.time ? -1 : 1))
    if (!one) for (const id of this.ended) found.push({ event: "end", workload: id })
    response.end(found.map((each) => `${JSON.stringify(each)}\n`).join(""))
  }
}

async function open(t, ids, isAtEnd = () => true) {
  const service = await Service.open(t, ids)
  const model = new MergedModel(ids)
  const waiting = []
  const read = async (path, signal) => fetch(service.url + path, { signal })
  const fail = (error) => assert.fail(error)
  const feed = new MergedFeed(model, read, { changed: () => waiting.splice(0).forEach((done) => done()), isAtEnd, mayGrow: () => isAtEnd() || !model.isFull, fail })
  t.after(() => feed.close())
  const until = async (isDone) => {
    while (!isDone()) await new Promise((done) => waiting.push(done))
  }
  return { service, model, feed, until }
}

test("bursts that a message leaves lines out of: none is lost or doubled, all are in order", async (t) => {
  const { service, model, feed, until } = await open(t, ["a", "b", "c"])
  for (const id of ["a", "b"]) service.write(id, 40)
  await feed.open()
  let state = 1
  const random = (most) => (state = (state * 48271) % 2147483647) % most
  for (let round = 0; round < 60; round += 1) {
    const id = ["a", "b", "c"][random(3)]
    const count = random(9)
    service.write(id, count)
    feed.hear(service.news(id, count, 4))
    if (random(2)) await new Promise((done) => setImmediate(done))
  }
  service.ended.add("a")
  feed.hear(service.news("a", 0, 4))
  await until(() => [...service.logs].every(([id, lines]) => model.logs.get(id).head === lines.length) && model.logs.get("a").hasEnded)
  const lines = [...service.logs.values()].flat().sort((one, other) => (one.time < other.time ? -1 : 1))
  assert.deepEqual(keysOf(model).filter((key) => !key.endsWith("end")), lines.map(({ workload, seq }) => `${workload}:L${seq}`))
  assert.equal(feed.head, lines.length)
})

test("a burst that is larger than what a view catches up with opens it at the end again, unless somebody reads", async (t) => {
  let isAtEnd = false
  const { service, model, feed, until } = await open(t, ["a"], () => isAtEnd)
  service.write("a", 1500)
  await feed.open()
  assert.equal(model.rows.length, TAIL)
  assert.deepEqual(model.cut, ["a"])
  service.write("a", 9000)
  feed.hear(service.news("a", 9000, 300))
  assert.equal(feed.head, 10_500)
  assert.equal(model.logs.get("a").head, 1500)
  isAtEnd = true
  await feed.catchUp()
  assert.deepEqual([model.rows[0].key, model.rows.at(-1).key, model.rows.length], ["a:L9501", "a:L10500", TAIL])
  await feed.earlier(["a"])
  assert.deepEqual([model.rows[0].key, model.rows.length], ["a:L8501", 2 * TAIL])
  // A worker that has followed the log for longer says only how far it is.
  service.write("a", 5)
  feed.hear(service.news("a", 5, 0))
  await until(() => model.logs.get("a").head === 10_505)
  // A cut is no end.
  service.refusals = 1
  service.write("a", 20)
  feed.hear(service.news("a", 20, 5))
  await until(() => model.logs.get("a").head === 10_525)
  assert.equal(model.rows.length, 2 * TAIL + 25)
})
