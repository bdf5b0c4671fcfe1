// The one connection of all tabs, against a real server: it resumes over cuts, and is shared.

import assert from "node:assert/strict"
import { once } from "node:events"
import http from "node:http"
import test from "node:test"

import { ABSENCE, Hub } from "../../trio_logs/web/wire/hub.js"
import { Follower } from "../../trio_logs/web/wire/follower.js"
import { MOST_LINES } from "../../trio_logs/web/wire/log_news.js"
import { objectsOf } from "../../trio_logs/web/wire/ndjson.js"

/** A server whose requests wait in `requests` for what the test does with them. */
class Service {
  requests = []
  waiting = []
  closed = 0
  server = http.createServer((request, response) => {
    response.on("close", () => (this.closed += 1))
    const next = this.waiting.shift()
    next ? next([request, response]) : this.requests.push([request, response])
  })

  static async open(t) {
    const service = new Service()
    service.server.listen(0, "127.0.0.1")
    await once(service.server, "listening")
    const { port } = service.server.address()
    const real = globalThis.fetch
    globalThis.fetch = (path, options) => real(new URL(path, `http://127.0.0.1:${port}`), options)
    t.after(() => {
      globalThis.fetch = real
      service.server.closeAllConnections()
      service.server.close()
    })
    return service
  }

  async next() {
    const [request, response] = this.requests.shift() ?? (await new Promise((done) => this.waiting.push(done)))
    const url = new URL(request.url, "http://x")
    assert.equal(url.pathname, "/v1/logs")
    return {
      logs: url.searchParams.getAll("workload"),
      events: url.searchParams.get("events"),
      unfinished: url.searchParams.get("unfinished"),
      key: request.headers.authorization,
      say: (...objects) => response.write(objects.map((each) => `${JSON.stringify(each)}\n`).join("")),
      begin: () => response.writeHead(200).flushHeaders(),
      refuse: (status) => response.writeHead(status).end('{"detail":"no"}'),
      finish: () => response.end(),
      cut: () => response.destroy(),
      gone: once(response, "close"),
    }
  }
}

/** A tab: it collects what it hears, and waits until that is enough. */
class Tab {
  heard = []
  constructor(t, hub) {
    const { port1, port2 } = new MessageChannel()
    this.port = port1
    this.hub = hub
    t.after(() => {
      port2.onmessage({ data: { kind: "bye" } })
      port1.close()
    })
    port1.onmessage = ({ data }) => {
      this.heard.push(data)
      this.check?.()
    }
    hub.add(port2)
  }

  say(message) {
    this.port.postMessage(message)
    return this
  }

  async until(enough) {
    if (enough()) return
    await new Promise((done) => (this.check = () => enough() && done()))
  }

  lines = () => this.heard.flatMap((each) => each.lines ?? []).map((line) => line.seq)
  events = () => this.heard.flatMap((each) => each.events ?? []).map((each) => each.event)
  states = () =>
    this.heard.filter((each) => each.kind === "state").map((each) => each.state).filter((state, place, all) => state !== all[place - 1])
}

const line = (seq, stream = "stdout") => ({ workload: "a", seq, time: "2026-01-31T12:00:00.000000Z", stream, text: `line ${seq}` })
const END = { workload: "a", event: "end", status: "succeeded", lines: 4 }

async function followed(t, hub = new Hub()) {
  const service = await Service.open(t)
  const tab = new Tab(t, hub).say({ kind: "follow", key: "k", id: "a", after: 2 })
  const answer = await service.next()
  answer.begin()
  return { service, hub, tab, answer }
}

test("a cut loses and doubles no line", async (t) => {
  const { service, tab, answer } = await followed(t)
  assert.deepEqual([answer.logs, answer.events, answer.key], [["a.2"], null, "Bearer k"])
  answer.say(line(3), { event: "heartbeat" })
  await tab.until(() => tab.lines().length === 1)
  answer.cut()
  const again = await service.next()
  assert.deepEqual(again.logs, ["a.3"])
  again.begin()
  again.say(line(3))
  // Lines since the last position come again.
  again.say(line(4), END)
  again.finish()
  await tab.until(() => tab.events().includes("end"))
  assert.deepEqual(tab.lines(), [3, 4])
  await tab.until(() => tab.states().at(-1) === "ended")
  assert.deepEqual(tab.states(), ["connecting", "live", "reconnecting", "live", "ended"])
})

test("tabs share one answer, and one that comes later learns the end", async (t) => {
  const { service, hub, tab, answer } = await followed(t)
  const other = new Tab(t, hub).say({ kind: "follow", key: "k", id: "a", after: 2 })
  await other.until(() => other.heard.length === 2)
  answer.say(line(3), line(4), END)
  for (const each of [tab, other]) {
    await each.until(() => each.events().includes("end"))
    assert.deepEqual(each.lines(), [3, 4])
  }
  const late = new Tab(t, hub).say({ kind: "follow", key: "k", id: "a", after: 4 })
  await late.until(() => late.heard.length === 2)
  assert.deepEqual(late.events(), ["end"])
  assert.equal(service.requests.length, 0)
})

test("all that the tabs follow is one answer, and a change of it does not show", async (t) => {
  const { service, hub, tab, answer } = await followed(t)
  answer.say(line(3))
  await tab.until(() => tab.lines().length === 1)
  const other = new Tab(t, hub).say({ kind: "follow", key: "k", id: "b", after: 7 }).say({ kind: "follow", key: "k", id: "*", after: "5" })
  await answer.gone
  const second = await service.next()
  assert.deepEqual([second.logs, second.events], [["a.3", "b.7"], "5"])
  second.begin()
  second.say(line(4), { ...line(8), workload: "b" }, change("6", "running"))
  await tab.until(() => tab.lines().length === 2)
  await other.until(() => other.heard.some(({ changes }) => changes?.length))
  assert.deepEqual([tab.lines(), other.lines()], [[3, 4], [8]])
  assert.ok(!tab.states().includes("reconnecting"))
  assert.ok(tab.states().lastIndexOf("connecting") < tab.states().indexOf("live"))
  // What has ended is not asked for again.
  second.say({ ...END, workload: "b" })
  await other.until(() => other.events().includes("end"))
  second.cut()
  const third = await service.next()
  assert.deepEqual([third.logs, third.events], [["a.4"], "6"])
})

test("the end of one log does not cut the answer that others share", async (t) => {
  const { service, hub, tab, answer } = await followed(t)
  const other = new Tab(t, hub).say({ kind: "follow", key: "k", id: "b", after: 0 })
  await answer.gone
  const both = await service.next()
  both.begin()
  both.say(line(3), END)
  await tab.until(() => tab.events().includes("end"))
  tab.say({ kind: "drop", id: "a" })
  both.say({ ...line(1), workload: "b" })
  await other.until(() => other.lines().length === 1)
  both.say({ ...line(2), workload: "b" })
  await other.until(() => other.lines().length === 2)
  assert.deepEqual([service.requests.length, service.closed], [0, 1])
})

test("a log that no tab shows any more is not followed", async (t) => {
  const { hub, tab, answer } = await followed(t)
  const other = new Tab(t, hub).say({ kind: "follow", key: "k", id: "a", after: 2 })
  await other.until(() => other.heard.length === 2)
  tab.say({ kind: "drop", id: "a" })
  other.say({ kind: "bye" })
  await answer.gone
  assert.deepEqual(hub.statistics(), { tabs: 1, followed: 0 })
})

test("a tab that is silent for minutes is forgotten, and may come back", async (t) => {
  const { service, hub, tab, answer } = await followed(t)
  hub.sweep(Date.now() + ABSENCE - 1000)
  assert.equal(hub.statistics().tabs, 1)
  hub.sweep(Date.now() + ABSENCE + 1000)
  await answer.gone
  assert.deepEqual(hub.statistics(), { tabs: 0, followed: 0 })
  tab.say({ kind: "follow", key: "k", id: "a", after: 7 })
  assert.deepEqual((await service.next()).logs, ["a.7"])
})

for (const [status, state] of [[401, "signed out"], [404, "gone"], [204, "ended"]]) {
  test(`an answer with ${status} is "${state}", and is not tried again`, async (t) => {
    const service = await Service.open(t)
    const tab = new Tab(t, new Hub()).say({ kind: "follow", key: "k", id: "a", after: 0 })
    const answer = await service.next()
    answer.refuse(status)
    await tab.until(() => tab.states().at(-1) === state)
    // The next request is that of another session: none came before it.
    tab.say({ kind: "follow", key: "other", id: "a", after: 0 })
    assert.equal((await service.next()).key, "Bearer other")
  })
}

test("where no log is known, each is gone, and the changes go on", async (t) => {
  const service = await Service.open(t)
  const tab = new Tab(t, new Hub()).say({ kind: "follow", key: "k", id: "a", after: 0 }).say({ kind: "follow", key: "k", id: "*", after: "5" })
  ;(await service.next()).refuse(404)
  await tab.until(() => tab.events().includes("gone"))
  const answer = await service.next()
  assert.deepEqual([answer.logs, answer.events], [[], "5"])
  answer.begin()
  await tab.until(() => tab.states().at(-1) === "live")
})

test("what was unfinished before a cut is forgotten", async (t) => {
  const { service, tab, answer } = await followed(t)
  assert.equal(answer.unfinished, "true")
  const newest = () => tab.heard.findLast((each) => each.unfinished)?.unfinished
  answer.say({ workload: "a", event: "unfinished", stream: "stdout", text: "67 %" })
  await tab.until(() => newest()?.stdout === "67 %")
  // Another selection asks again, and forgets nothing.
  tab.say({ kind: "follow", key: "k", id: "b", after: 0 })
  const second = await service.next()
  second.begin()
  second.say({ ...line(1), workload: "b" })
  await tab.until(() => tab.lines().length === 1)
  const late = new Tab(t, tab.hub).say({ kind: "follow", key: "k", id: "a", after: 2 })
  await late.until(() => late.heard.length === 2)
  assert.deepEqual(late.heard[0].unfinished, { stdout: "67 %" })
  second.cut()
  ;(await service.next()).begin()
  await tab.until(() => newest()?.stdout === undefined)
})

test("signing in again with the same key follows again", async (t) => {
  const service = await Service.open(t)
  const tab = new Tab(t, new Hub()).say({ kind: "follow", key: "k", id: "a", after: 0 })
  ;(await service.next()).refuse(401)
  await tab.until(() => tab.states().includes("signed out"))
  tab.say({ kind: "follow", key: "k", id: "a", after: 5 })
  assert.deepEqual((await service.next()).logs, ["a.5"])
})

test("another key ends what the last one opened", async (t) => {
  const { service, tab, answer } = await followed(t)
  tab.say({ kind: "follow", key: "other", id: "a", after: 2 })
  await answer.gone
  assert.equal((await service.next()).key, "Bearer other")
})

test("other failures are tried again, at once if somebody looks", async (t) => {
  const service = await Service.open(t)
  const tab = new Tab(t, new Hub()).say({ kind: "follow", key: "k", id: "a", after: 0 })
  for (const status of [503, 429, 500]) {
    ;(await service.next()).refuse(status)
    await tab.until(() => tab.states().at(-1) === "reconnecting")
  }
  const again = service.next()
  tab.say({ kind: "wake" })
  const answer = await again
  answer.begin()
  answer.say({ event: "shutdown", reason: "draining", retry: 50 })
  answer.finish()
  assert.deepEqual((await service.next()).logs, ["a.0"])
})

test("an answer that falls silent is given up", async (t) => {
  const service = await Service.open(t)
  const states = []
  const open = (signal) => fetch("/v1/logs?workload=a.3", { signal })
  const follower = new Follower({ open, receive: () => {}, isOver: () => false, turn: (state) => states.push(state) }, 50)
  t.after(() => follower.stop())
  const answer = await service.next()
  // Before its head, and in its body.
  await answer.gone
  while (!states.includes("live")) {
    const next = await service.next()
    next.begin()
    next.say(line(3))
    await next.gone
  }
  await service.next()
  assert.equal(states.at(-1), "reconnecting")
})

test("a burst is a bounded message", async (t) => {
  const { tab, answer } = await followed(t)
  for (let start = 3; start < 50_003; start += 1000) {
    answer.say(...Array.from({ length: 1000 }, (_, place) => line(start + place)))
  }
  await tab.until(() => tab.heard.at(-1).head === 50_002)
  for (const { lines = [] } of tab.heard) assert.ok(lines.length <= MOST_LINES)
  const last = tab.heard.findLast(({ lines }) => lines?.length).lines
  assert.equal(last.at(-1).seq, 50_002)
})

test("an unfinished line goes with the line that finishes it", async (t) => {
  const { tab, answer } = await followed(t)
  answer.say({ workload: "a", event: "unfinished", stream: "stdout", text: "67 %" })
  await tab.until(() => tab.heard.at(-1).unfinished?.stdout === "67 %")
  answer.say(line(3, "stderr"))
  await tab.until(() => tab.lines().length === 1)
  assert.deepEqual(tab.heard.at(-1).unfinished, { stdout: "67 %" })
  answer.say(line(4))
  await tab.until(() => tab.lines().length === 2)
  assert.deepEqual(tab.heard.at(-1).unfinished, {})
})

test("another session takes the stream over, and each state names the key that it is about", async (t) => {
  const { service, hub, tab, answer } = await followed(t)
  new Tab(t, hub).say({ kind: "follow", key: "new", id: "a", after: 2 })
  await answer.gone
  const keys = (each) => new Set(each.heard.filter(({ kind }) => kind === "state").map(({ key }) => key))
  // At once, whatever becomes of its request.
  await tab.until(() => keys(tab).size === 2)
  assert.deepEqual([...keys(tab)], ["k", "new"])
  const next = await service.next()
  assert.equal(next.key, "Bearer new")
  next.refuse(401)
  await tab.until(() => tab.states().at(-1) === "signed out")
  assert.equal(tab.heard.at(-1).key, "new")
  // It follows again with its own key.
  tab.say({ kind: "follow", key: "k", id: "a", after: 2 })
  const own = await service.next()
  assert.equal(own.key, "Bearer k")
  own.begin()
  own.say(line(3))
  await tab.until(() => tab.lines().length === 1)
})

test("gaps count, and a reset starts over", async (t) => {
  const { service, tab, answer } = await followed(t)
  answer.say({ workload: "a", event: "gap", from: 3, to: 9, reason: "store" })
  await tab.until(() => tab.events().includes("gap"))
  assert.equal(tab.heard.at(-1).head, 9)
  answer.say({ workload: "a", event: "reset", reason: "beyond_head" })
  await tab.until(() => tab.events().includes("reset"))
  answer.cut()
  assert.deepEqual((await service.next()).logs, ["a.0"])
})

const change = (position, status) => ({ event: "workload", position, id: "a", status, lines: 0 })

test("changes of workloads resume after the last one, and come once a tick", async (t) => {
  const service = await Service.open(t)
  const hub = new Hub()
  const tab = new Tab(t, hub).say({ kind: "follow", key: "k", id: "*", after: "7" })
  const answer = await service.next()
  assert.deepEqual([answer.events, answer.logs], ["7", []])
  answer.begin()
  answer.say({ event: "position", id: "7" }, change("8", "queued"), change("9", "running"), { event: "progress", id: "a", lines: 3, bytes: 9 })
  await tab.until(() => tab.heard.at(-1).changes)
  assert.deepEqual(tab.heard.at(-1).changes, [{ ...change("9", "running"), lines: 3, bytes: 9 }])
  answer.say({ event: "deleted", position: "10", id: "a" }, { event: "reset", reason: "too_old" }, { event: "position", id: "40.12" })
  await tab.until(() => tab.heard.at(-1).isStale)
  answer.cut()
  assert.equal((await service.next()).events, "40")
  // One that comes later may have listed before what came.
  const late = new Tab(t, hub).say({ kind: "follow", key: "k", id: "*", after: "8" })
  await late.until(() => late.heard[0]?.isStale)
})

test("a body is cut anywhere, within characters too", async () => {
  const bytes = new TextEncoder().encode('{"text":"é€😀"}\n\n{"text":"\\u2028\u2028"}\n{"text":"cut')
  for (let size = 1; size < bytes.length; size += 1) {
    let isCancelled = false
    const pieces = new ReadableStream({
      start(controller) {
        for (let place = 0; place < bytes.length; place += size) controller.enqueue(bytes.slice(place, place + size))
        controller.close()
      },
      cancel: () => (isCancelled = true),
    })
    const found = []
    for await (const objects of objectsOf(pieces)) found.push(...objects)
    assert.deepEqual(found, [{ text: "é€😀" }, { text: "\u2028\u2028" }])
    assert.ok(!isCancelled)
  }
})
