/** The changes of workloads, for all tabs. */

import { Follower } from "./follower.js"
import { TICK } from "./log_stream.js"
import { send } from "./request.js"

/** @typedef {import("./follower.js").State} State */

/** In place of the id of a log. */
export const CHANGES = "*"

/**
 * What is new: the newest change of each workload, as the service sends it.
 *
 * @typedef {object} Changes
 * @property {string} id `CHANGES`.
 * @property {any[]} changes Objects with the event `workload`, `deleted` or `progress`.
 * @property {boolean} isStale The tab has to list again: it lacks changes from before.
 */

export class ChangeStream {
  /** By workload. @type {Map<string, any>} */
  #changes = new Map()
  #isStale = false
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer = undefined

  /**
   * @param {string} key
   * @param {string} position That of the list of the first tab.
   * @param {(changes: Changes) => void} tell
   * @param {(state: State) => void} turn
   */
  constructor(key, position, tell, turn) {
    this.position = position
    this.tell = tell
    const headers = { Accept: "application/x-ndjson" }
    this.follower = new Follower({
      open: (signal) => send(key, `/v1/events?last_event_id=${this.position}`, { signal, headers }),
      receive: (objects) => this.#receive(objects),
      turn,
    })
  }

  stop() {
    clearTimeout(this.#timer)
    this.follower.stop()
  }

  /** A tab that comes now has listed before, maybe long before. @returns {Changes} */
  now() {
    return { id: CHANGES, changes: [], isStale: true }
  }

  /** @param {any[]} objects */
  #receive(objects) {
    for (const each of objects) {
      if (each.event === "position") this.position = each.id
      else if (each.event === "reset") this.#isStale = true
      else if (each.event === "progress") {
        const known = this.#changes.get(each.id)
        this.#changes.set(each.id, known ? { ...known, lines: each.lines, bytes: each.bytes } : each)
      } else if (each.position !== undefined) {
        this.position = each.position
        this.#changes.set(each.id, each)
      } else continue
      this.#timer ??= setTimeout(() => this.#flush(), TICK)
    }
  }

  #flush() {
    this.#timer = undefined
    const news = { id: CHANGES, changes: [...this.#changes.values()], isStale: this.#isStale }
    this.#changes = new Map()
    this.#isStale = false
    if (news.changes.length || news.isStale) this.tell(news)
  }
}
