// The list of workloads: its pages, what its search asks for, and what the run dialog says is wrong.

import assert from "node:assert/strict"
import test from "node:test"

import { Pages } from "../../trio_logs/web/list/pages.js"
import { countsOf, labelsIn, parametersOf } from "../../trio_logs/web/list/query.js"
import { fieldAndWords, pairsOf, secondsOf } from "../../trio_logs/web/list/run_dialog.js"

/** The service: workloads by number, the highest is the newest; pages of three. */
class Service {
  numbers = []
  page(before = Infinity) {
    const all = this.numbers.filter((number) => number < before).sort((one, other) => other - one)
    const workloads = all.slice(0, 3).map((id) => ({ id, status: "running" }))
    return { workloads, next: all.length > 3 ? workloads.at(-1).id : null }
  }
}

const idsOf = (pages) => pages.workloads.map(({ id }) => id)

/** Scroll to the end. */
function scroll(pages, service) {
  while (pages.next !== null) pages.add(service.page(pages.next))
}

test("pages that scrolling has added stay below the first one, which is kept fresh", () => {
  const [service, pages] = [new Service(), new Pages()]
  service.numbers = [1, 2, 3, 4, 5, 6, 7]
  pages.refresh(service.page())
  assert.deepEqual(idsOf(pages), [7, 6, 5])
  pages.add(service.page(pages.next))
  service.numbers.push(8)
  pages.refresh(service.page())
  assert.deepEqual(idsOf(pages), [8, 7, 6, 5, 4, 3, 2])
  assert.equal(pages.next, 2)
  scroll(pages, service)
  assert.deepEqual(idsOf(pages), [8, 7, 6, 5, 4, 3, 2, 1])
  // After the last page, too.
  pages.refresh(service.page())
  assert.deepEqual(idsOf(pages), [8, 7, 6, 5, 4, 3, 2, 1])
  assert.equal(pages.next, null)
})

test("a first page with nothing that is known leaves no hole", () => {
  const [service, pages] = [new Service(), new Pages()]
  service.numbers = [1, 2, 3, 4, 5]
  pages.refresh(service.page())
  scroll(pages, service)
  service.numbers.push(6, 7, 8, 9)
  pages.refresh(service.page())
  assert.deepEqual(idsOf(pages), [9, 8, 7])
  scroll(pages, service)
  assert.deepEqual(idsOf(pages), [9, 8, 7, 6, 5, 4, 3, 2, 1])
})

test("a workload that is deleted, or that the filter does not show any more, leaves at once", () => {
  const [service, pages] = [new Service(), new Pages()]
  service.numbers = [1, 2, 3]
  pages.refresh(service.page())
  pages.change({ event: "progress", id: 2, lines: 7 }, ["running"])
  assert.equal(pages.workloads[1].lines, 7)
  pages.change({ event: "workload", id: 3, status: "failed" }, ["running"])
  pages.change({ event: "deleted", id: 1 }, [])
  pages.change({ event: "deleted", id: 99 }, [])
  assert.deepEqual(idsOf(pages), [2])
  pages.change({ event: "workload", id: 2, status: "failed" }, [])
  assert.equal(pages.workloads[0].status, "failed")
  pages.refresh({ workloads: [], next: null })
  assert.deepEqual(idsOf(pages), [])
})

test("words and labels of the search", () => {
  const parameters = (text, statuses = []) => String(parametersOf(text, statuses, 100))
  assert.equal(parameters("  npm  run build "), "limit=100&search=npm+run+build")
  assert.equal(parameters("label:team=web build label:a=b=c", ["failed", "lost"]), "limit=100&label=team%3Dweb&label=a%3Db%3Dc&search=build&status=failed&status=lost")
  assert.deepEqual(labelsIn('label: team=web  label:"name=two words"'), ["team=web", "name=two words"])
  // Somebody still types, so the list does not become empty.
  for (const text of ["label:", "label:te", "label:=x"]) assert.equal(parameters(text), "limit=100")
  assert.equal(parameters("mylabel:a=b"), "limit=100&search=mylabel%3Aa%3Db")
})

test("the count of each filter", () => {
  const counts = { queued: 1, running: 2, succeeded: 4, failed: 8, stopped: 16, timed_out: 32, lost: 64 }
  assert.deepEqual(countsOf(counts), [127, 2, 104, 1])
})

test("what is wrong, and in which field", () => {
  assert.deepEqual(fieldAndWords("env: 'A=B' is not a variable's name"), { field: "env", words: "'A=B' is not a variable's name" })
  assert.deepEqual(fieldAndWords("command, env, cwd: they can't hold NUL"), { field: "command", words: "they can't hold NUL" })
  assert.deepEqual(fieldAndWords("timeout: it is a number above 0"), { field: "timeout", words: "it is a number above 0" })
  assert.deepEqual(fieldAndWords("a value in labels: it is a string of at most 200 characters"), { field: "labels", words: "it is a string of at most 200 characters" })
  assert.deepEqual(fieldAndWords("The queue is full."), { field: "", words: "The queue is full." })
})

test("variables and labels are lines of NAME=value", () => {
  assert.deepEqual(pairsOf("A=1\n\n B =x=y \n", "env"), { A: "1", B: "x=y " })
  assert.throws(() => pairsOf("A", "env"), /^Error: env: "A" is not of the form NAME=value$/)
  assert.throws(() => pairsOf("=1", "labels"), /^Error: labels: "=1"/)
})

test("durations are those of the commands", () => {
  const given = ["90", " 1.5 ", "0", "5m", "1h30m", "1h 30m", "2d", "500ms", "1.5h"]
  assert.deepEqual(given.map(secondsOf), [90, 1.5, 0, 300, 5400, 5400, 172_800, 0.5, 5400])
  for (const wrong of ["soon", "-1", "1h30", "m", "1e3", "5 min"]) {
    assert.throws(() => secondsOf(wrong), /^Error: timeout: "/)
  }
})
