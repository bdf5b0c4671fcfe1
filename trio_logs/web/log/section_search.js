/** Finds the marks of sections in the lines that this tab has not loaded. */

import { objectsOf } from "../wire/ndjson.js"
import { PATTERN } from "./section_marks.js"
import { MOST_MARKED } from "./sections.js"

/** Milliseconds between the starts of two searches. Where none finds a mark, each pause is twice the last one. */
const PAUSE = 3000
const LONGEST_PAUSE = 60_000

export class SectionSearch {
  #abort = new AbortController()
  #started = -Infinity
  #pause = PAUSE
  #isSearching = false

  /**
   * @param {import("./model.js").LogModel} model
   * @param {(path: string, signal: AbortSignal) => Promise<Response>} read `path` follows the log's own.
   * @param {() => void} found
   */
  constructor(model, read, found) {
    this.model = model
    this.read = read
    this.found = found
  }

  close() {
    this.#abort.abort()
  }

  /** Search what nobody has looked at, if there is any, but not all the time. */
  async grew() {
    const { sections, head } = this.model
    if (this.#isSearching || performance.now() - this.#started < this.#pause || !sections.isWhole) return
    const range = sections.coverage.missing(head)
    if (!range) return
    this.#isSearching = true
    this.#started = performance.now()
    try {
      await this.#search(sections, ...range)
      this.#pause = sections.size ? PAUSE : Math.min(2 * this.#pause, LONGEST_PAUSE)
    } catch {
      // The service is busy or away: the lines are looked at later.
    } finally {
      this.#isSearching = false
    }
  }

  /** @param {import("./sections.js").Sections} sections @param {number} from @param {number} to */
  async #search(sections, from, to) {
    const { signal } = this.#abort
    const query = new URLSearchParams({ filter: PATTERN, regex: "true", case: "true", from: String(from), to: String(to) })
    let count = 0
    let isDone = false
    for await (const each of this.#objects(`matches?${query}`, signal)) {
      if (each.event === "end") isDone = true
      else count += each.count ?? 0
    }
    if (!isDone) return
    if (count > MOST_MARKED) sections.giveUp()
    else if (count) {
      // The numbers of lines alone do not tell which sections they begin and end.
      for await (const each of this.#objects(`logs?${query}&follow=false`, signal)) if (each.seq) sections.mark(each)
    }
    if (count <= MOST_MARKED) sections.cover(from, to)
    if (count) this.found()
  }

  /** @param {string} path @param {AbortSignal} signal */
  async *#objects(path, signal) {
    const { body } = await this.read(path, signal)
    if (body) for await (const objects of objectsOf(body)) yield* objects
  }
}
