/**
 * Brings lines into a merged view: the last ones of each log, what follows live, and earlier ones.
 *
 * A message of the shared stream leaves lines out where many come at once. Then the view asks the service
 * for all that it lacks, in the order in which it arrived.
 */

import { objectsOf } from "../wire/ndjson.js"
import { Problem } from "../wire/request.js"

/** Lines of each log that a view opens with, and that it adds when somebody asks for earlier ones. */
export const TAIL = 1000
/** Lines above which a view that is behind opens at the end again. */
const MOST_BEHIND = 5000
/** Milliseconds. */
const PAUSE = 1000

export class MergedFeed {
  /** The last line that each log is known to have. @type {Map<string, number>} */
  #heads = new Map()
  /** @type {Set<string>} */
  #ended = new Set()
  #isBusy = false
  /** Whether a log has other lines than the view. */
  #isStale = false
  #abort = new AbortController()
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer = undefined

  /**
   * @param {import("./merged_model.js").MergedModel} model
   * @param {(path: string, signal: AbortSignal) => Promise<Response>} read
   * @param {{ changed: () => void, mayGrow: () => boolean, isAtEnd: () => boolean, fail: (error: unknown) => void }} view
   */
  constructor(model, read, view) {
    this.model = model
    this.read = read
    this.view = view
  }

  close() {
    this.#abort.abort()
    clearTimeout(this.#timer)
  }

  /** Lines of all logs, those that are not in the view yet included. */
  get head() {
    let sum = 0
    for (const [id, { head }] of this.model.logs) sum += Math.max(head, this.#heads.get(id) ?? 0)
    return sum
  }

  /** As of one log. */
  get lineCount() {
    return this.head
  }

  get hasEnded() {
    return this.model.hasEnded
  }

  /** Fetch the last lines of each log. */
  async open() {
    this.#isBusy = true
    try {
      await this.#fetch(true)
      this.model.trim()
    } finally {
      this.#isBusy = false
    }
  }

  /** @param {import("../wire/log_news.js").News} news */
  hear({ id, head, lines, events }) {
    const log = this.model.logs.get(id)
    if (!log) return
    const isReset = events.some(({ event }) => event === "reset")
    this.#heads.set(id, isReset ? head : Math.max(head, this.#heads.get(id) ?? 0))
    const ends = events.filter(({ event }) => event === "end" || event === "gone")
    if (ends.length) this.#ended.add(id)
    const isWhole = ends.length === events.length && head === log.head + lines.length && lines[0]?.seq === (lines.length ? log.head + 1 : undefined)
    if (isWhole && !this.#isBusy && this.view.mayGrow()) {
      this.model.append([...lines, ...ends].map((each) => ({ ...each, workload: id })))
      this.#settle()
    } else {
      this.#isStale ||= isReset
      this.catchUp()
    }
    this.view.changed()
  }

  /** Have all that the logs are known to have, unless the view is full and somebody reads further up. */
  async catchUp() {
    if (this.#isBusy) return
    this.#isBusy = true
    const { signal } = this.#abort
    try {
      while (this.#isStale || (this.#behind && this.view.mayGrow())) {
        const isAnew = this.#isStale || this.#behind > MOST_BEHIND
        // Whoever reads further up must not lose the place.
        if (isAnew && !this.#isStale && !this.view.isAtEnd()) break
        await this.#fetch(isAnew)
        this.#settle()
      }
    } catch (error) {
      if (!signal.aborted) this.#retry(error)
    } finally {
      this.#isBusy = false
    }
  }

  /** Fetch lines of these logs from before those that show. @param {string[]} ids */
  async earlier(ids) {
    const { signal } = this.#abort
    const found = await Promise.all(
      ids.map(async (id) => {
        const to = (this.model.logs.get(id)?.first ?? 1) - 1
        /** @type {any[]} */
        const objects = []
        const answer = await this.read(`/v1/workloads/${id}/logs?follow=false&to=${to}&tail=${TAIL}`, signal)
        if (answer.body) for await (const each of objectsOf(answer.body)) objects.push(...each)
        return { id, to, objects }
      }),
    )
    // A view that opened at the end again meanwhile has other lines.
    for (const { id, to, objects } of found) if (this.model.logs.get(id)?.first === to + 1) this.model.prepend(id, objects)
    this.view.changed()
  }

  /** How many lines, and ends, the view lacks. */
  get #behind() {
    let sum = 0
    for (const [id, { head, hasEnded }] of this.model.logs) {
      sum += Math.max(0, (this.#heads.get(id) ?? 0) - head)
      if (this.#ended.has(id) && !hasEnded) sum += 1
    }
    return sum
  }

  /** @param {boolean} isAnew Whether to open at the end again. */
  async #fetch(isAnew) {
    const { logs } = this.model
    const [heads, ended] = [new Map(this.#heads), new Set(this.#ended)]
    const after = [...logs].map(([id, { head }]) => `workload=${id}${isAnew ? "" : `.${head}`}`)
    const answer = await this.read(`/v1/logs?${after.join("&")}${isAnew ? `&tail=${TAIL}` : ""}&follow=false`, this.#abort.signal)
    /** @type {any[]} */
    const objects = []
    if (answer.body) for await (const each of objectsOf(answer.body)) objects.push(...each)
    if (isAnew) this.model.clear()
    this.model.append(objects)
    if (isAnew) this.model.markStarts()
    this.#isStale = false
    // What the answer lacks is not there: asking again would not help. What came meanwhile is.
    for (const [id, { head, hasEnded }] of logs) {
      if (this.#heads.get(id) === heads.get(id)) this.#heads.set(id, head)
      if (!hasEnded && ended.has(id)) this.#ended.delete(id)
    }
    this.view.changed()
  }

  /** Keep within the bound, where nobody reads what goes. */
  #settle() {
    if (this.view.isAtEnd() && this.model.trim()) this.view.changed()
  }

  /** @param {unknown} error */
  #retry(error) {
    if (this.#abort.signal.aborted) return
    if (error instanceof Problem && error.status < 500) return this.view.fail(error)
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.catchUp(), PAUSE)
  }
}
