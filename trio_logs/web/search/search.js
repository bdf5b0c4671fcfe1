/** A search over all logs: one request after another, each with the matches that follow. */

import { Problem } from "../wire/request.js"
import { objectsOf } from "../wire/ndjson.js"

/** Matches in one answer, and of one log; lines around each. */
export const LIMIT = 200
export const PER_LOG = 20
const CONTEXT = 2
/** Milliseconds before another attempt where too many searches run. */
const TURN = 1500

/** The parameters of `GET /v1/search`. @param {import("../address.js").Place} place */
export function parametersOf({ find, matchCase, isRegex, stream, labels, statuses }) {
  const parameters = new URLSearchParams({ filter: find, case: String(matchCase) })
  if (isRegex) parameters.set("regex", "true")
  if (stream) parameters.set("stream", stream)
  for (const label of labels) parameters.append("label", label)
  for (const status of statuses) parameters.append("status", status)
  return parameters.toString()
}

export class Search {
  isSearching = false
  /** Lines that the service has searched. */
  lines = 0
  /** Where the next answer goes on, if there is one. */
  next = ""
  /** Why there is no more, in words. */
  error = ""
  /** Whether the service would refuse the same again. */
  isRefused = false
  #parameters = ""
  #abort = new AbortController()

  /**
   * @param {(path: string, signal: AbortSignal) => Promise<Response>} read
   * @param {(lines: any[]) => void} found Gets lines, each with its workload, and `context` where it is beside a match.
   * @param {() => void} changed
   */
  constructor(read, found, changed) {
    this.read = read
    this.found = found
    this.changed = changed
  }

  close() {
    this.#abort.abort()
  }

  /** Search from the start. @param {string} parameters Empty ends the search. */
  async start(parameters) {
    this.#abort.abort()
    this.#parameters = parameters
    this.lines = 0
    this.next = ""
    this.error = ""
    this.isSearching = false
    this.changed()
    if (parameters) await this.more()
  }

  /** Go on where the last answer ended. */
  async more() {
    this.#abort.abort()
    this.#abort = new AbortController()
    const { signal } = this.#abort
    const before = this.next ? `&before=${this.next}` : ""
    this.isSearching = true
    this.isRefused = false
    this.error = "The answer was cut before its end."
    this.changed()
    try {
      const answer = await this.#turn(`/v1/search?${this.#parameters}&limit=${LIMIT}&per_workload=${PER_LOG}&context=${CONTEXT}${before}`, signal)
      if (answer.body) {
        for await (const objects of objectsOf(answer.body)) {
          if (signal.aborted) return
          this.#take(objects)
        }
      }
    } catch (error) {
      if (signal.aborted) return
      this.isRefused = error instanceof Problem && error.status < 500
      this.error = error instanceof Problem ? error.message.replace(/^filter: /, "") : "The server does not answer."
    }
    if (signal.aborted) return
    this.isSearching = false
    this.changed()
  }

  /** The answer, once it is this one's turn. @param {string} path @param {AbortSignal} signal */
  async #turn(path, signal) {
    while (true) {
      try {
        return await this.read(path, signal)
      } catch (error) {
        if (!(error instanceof Problem && error.status === 429)) throw error
      }
      await new Promise((done) => setTimeout(done, TURN))
      signal.throwIfAborted()
    }
  }

  /** @param {any[]} objects */
  #take(objects) {
    for (const each of objects) {
      if (each.event === "progress") this.lines = each.lines
      if (each.event !== "end") continue
      this.next = each.next ?? ""
      this.error = ""
    }
    this.found(objects.filter(({ seq }) => seq !== undefined))
    this.changed()
  }
}
