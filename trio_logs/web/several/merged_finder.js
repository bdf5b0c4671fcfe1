/**
 * Find among the lines of a merged view. The service looks, so that an expression means the same as in one log.
 */

import { parametersOf } from "../log/finder.js"
import { objectsOf } from "../wire/ndjson.js"

/** @typedef {import("../log/finder.js").Query} Query */

export class MergedFinder {
  /** @type {Query | undefined} */
  query = undefined
  /** The keys of the rows that match. @type {Set<string>} */
  matches = new Set()
  isSearching = false
  /** Milliseconds that the last search took. */
  took = 0
  /** Why it can't search, in words. */
  error = ""
  /** The last line of each log that was looked at. @type {Map<string, number>} */
  #searched = new Map()
  #abort = new AbortController()
  /** @type {{ of: string, places: number[] }} */
  #kept = { of: "", places: [] }

  /**
   * @param {import("./merged_model.js").MergedModel} model
   * @param {(path: string, signal: AbortSignal) => Promise<Response>} read
   * @param {() => void} changed
   */
  constructor(model, read, changed) {
    this.model = model
    this.read = read
    this.changed = changed
  }

  close() {
    this.#abort.abort()
  }

  get count() {
    return this.places.length
  }

  /** Search all lines of the view. @param {Query | undefined} query None ends the search. */
  async search(query) {
    this.#abort.abort()
    this.#abort = new AbortController()
    this.query = query
    this.matches = new Set()
    this.#kept = { of: "", places: [] }
    this.error = ""
    this.isSearching = false
    this.#searched = new Map([...this.model.logs].map(([id, { first }]) => [id, first - 1]))
    if (query) await this.#run(query, this.#abort.signal)
    else this.changed()
  }

  /** Search the lines that came since. */
  async extend() {
    const isNew = [...this.model.logs].some(([id, { head }]) => head > (this.#searched.get(id) ?? 0))
    if (this.query && isNew && !this.isSearching && !this.error) await this.#run(this.query, this.#abort.signal)
  }

  /** The places of the rows that match, in order. */
  get places() {
    const of = `${this.model.version} ${this.matches.size}`
    if (this.#kept.of !== of) {
      const places = [...this.matches].map((key) => this.model.indexOf(key)).filter((place) => place >= 0)
      this.#kept = { of, places: places.sort((one, other) => one - other) }
    }
    return this.#kept.places
  }

  /** @param {Query} query @param {AbortSignal} signal */
  async #run(query, signal) {
    const start = performance.now()
    const heads = new Map([...this.model.logs].map(([id, { head }]) => [id, head]))
    this.isSearching = true
    this.changed()
    try {
      const after = [...this.#searched].map(([id, head]) => `workload=${id}.${head}`)
      const answer = await this.read(`/v1/logs?${after.join("&")}&${parametersOf(query)}&follow=false`, signal)
      if (answer.body) {
        for await (const objects of objectsOf(answer.body)) {
          if (signal.aborted) return
          for (const { workload, seq } of objects) if (seq !== undefined) this.matches.add(`${workload}:L${seq}`)
          this.changed()
        }
      }
      this.#searched = heads
    } catch (error) {
      if (signal.aborted) return
      this.error = error instanceof Error ? error.message : String(error)
    }
    if (signal.aborted) return
    this.isSearching = false
    this.took = performance.now() - start
    this.changed()
  }
}
