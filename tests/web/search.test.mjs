// A search over all logs, against a real server: another question ends it, a cut is no end, and it waits for its turn.

import assert from "node:assert/strict"
import { once } from "node:events"
import http from "node:http"
import test from "node:test"

import { parseAddress } from "../../trio_logs/web/address.js"
import { parametersOf, Search } from "../../trio_logs/web/search/search.js"

/** A server whose requests wait for what the test does with them, and what the page has of their answers. */
async function open(t) {
  const [requests, waiting, found, seen] = [[], [], [], []]
  const server = http.createServer((request, response) => {
    const next = waiting.shift()
    next ? next([request, response]) : requests.push([request, response])
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const next = async () => {
    const [request, response] = requests.shift() ?? (await new Promise((done) => waiting.push(done)))
    const say = (...objects) => response.write(objects.map((each) => `${JSON.stringify(each)}\n`).join(""))
    return { url: new URL(request.url, "http://x"), say, response, gone: once(response, "close") }
  }
  const read = async (path, signal) => {
    const answer = await fetch(`http://127.0.0.1:${server.address().port}${path}`, { signal })
    if (answer.ok) return answer
    const { Problem } = await import("../../trio_logs/web/wire/request.js")
    throw new Problem(answer.status, await answer.text())
  }
  const search = new Search(
    read,
    (lines) => found.push(...lines.map(({ seq }) => seq)),
    () => seen.splice(0).forEach((done) => done()),
  )
  t.after(() => search.close())
  const until = async (isDone) => {
    while (!isDone()) await new Promise((done) => seen.push(done))
  }
  return { next, search, found, until }
}

test("what a search asks for", () => {
  const asked = (address) => parametersOf(parseAddress(new URL(address, "http://host")))
  assert.equal(asked("/search?find=a+b"), "filter=a+b&case=false")
  assert.equal(
    asked("/search?find=x&case=true&regex=true&stream=stderr&label=a%3Db&label=c%3Dd&status=failed&status=lost"),
    "filter=x&case=true&regex=true&stream=stderr&label=a%3Db&label=c%3Dd&status=failed&status=lost",
  )
})

test("results come as they are found, and another question ends the first", async (t) => {
  const { next, search, found, until } = await open(t)
  search.start("filter=one")
  const first = await next()
  assert.equal(first.url.searchParams.get("filter"), "one")
  first.say({ seq: 1, workload: "a", text: "one" }, { event: "progress", workload: "a", lines: 700 })
  await until(() => search.lines === 700)
  assert.deepEqual(found, [1])
  assert.ok(search.isSearching)
  search.start("filter=two")
  await first.gone
  const second = await next()
  second.say({ seq: 2, workload: "a", text: "two" }, { event: "end", count: 1, workloads: 1, complete: false, next: "a.2.1" })
  second.response.end()
  await until(() => !search.isSearching)
  assert.deepEqual([found, search.next, search.error], [[1, 2], "a.2.1", ""])
  search.more()
  const third = await next()
  assert.equal(third.url.searchParams.get("before"), "a.2.1")
  assert.equal(third.url.searchParams.get("filter"), "two")
  search.start("")
  await third.gone
  assert.ok(!search.isSearching)
})

test("an answer that is cut is no end, and one that is refused says why", async (t) => {
  const { next, search, until } = await open(t)
  search.start("filter=one")
  const cut = await next()
  cut.say({ seq: 1, workload: "a", text: "one" })
  cut.response.end()
  await until(() => !search.isSearching)
  assert.equal(search.error, "The answer was cut before its end.")
  search.more()
  const broken = await next()
  broken.response.destroy()
  await until(() => !search.isSearching)
  assert.deepEqual([search.error, search.isRefused], ["The server does not answer.", false])
  search.start("filter=(&regex=true")
  const refused = await next()
  refused.response.writeHead(400).end("filter: RE2 refuses this expression: missing ): (")
  await until(() => !search.isSearching)
  assert.deepEqual([search.error, search.isRefused], ["RE2 refuses this expression: missing ): (", true])
})

test("where too many searches run, it waits for its turn", async (t) => {
  const { next, search, until } = await open(t)
  search.start("filter=one")
  const busy = await next()
  busy.response.writeHead(429).end("busy")
  const again = await next()
  assert.ok(search.isSearching)
  again.say({ event: "end", count: 0, workloads: 0, complete: true, next: null })
  again.response.end()
  await until(() => !search.isSearching)
  assert.equal(search.error, "")
})
