/** The live lines of one log, for all tabs that show it. */

import { Follower } from "./follower.js"
import { send } from "./request.js"

/** @typedef {import("./follower.js").State} State */
/** @typedef {{ seq: number, time: string, stream: string, text: string, partial?: boolean }} Line */

/**
 * What is new of a log. Lines that it leaves out are in the store: the tab asks for them once it shows
 * them.
 *
 * @typedef {object} News
 * @property {string} id
 * @property {number} head The number of the last line.
 * @property {Line[]} lines The last ones, at most `MOST_LINES`.
 * @property {any[]} events Gaps, resets and the end.
 * @property {Record<string, string>} unfinished The text of each stream that has not ended its line.
 */

/** Milliseconds between two messages to a tab. */
export const TICK = 50
/** Lines in a message, which are more than a screen has. */
export const MOST_LINES = 300

export class LogStream {
  /** @type {Line[]} */
  #lines = []
  /** @type {any[]} */
  #events = []
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer = undefined
  /** @type {Record<string, string>} */
  #unfinished = {}
  /** The last end, for a tab that comes later. @type {any} */
  #end = undefined

  /**
   * @param {string} key
   * @param {string} id
   * @param {number} after The number of the last line that is known.
   * @param {(news: News) => void} tell
   * @param {(state: State) => void} turn
   */
  constructor(key, id, after, tell, turn) {
    this.id = id
    this.head = after
    this.tell = tell
    const path = `/v1/workloads/${id}/logs?follow=true&last_event_id=`
    this.follower = new Follower({
      open: (signal) =>
        send(key, `${path}${this.head}`, { signal, headers: { Accept: "application/x-ndjson" } }),
      receive: (objects) => this.#receive(objects),
      turn,
    })
  }

  stop() {
    clearTimeout(this.#timer)
    this.follower.stop()
  }

  /** All that a tab that comes now has to know. @returns {News} */
  now() {
    const events = this.#end ? [this.#end] : []
    return { id: this.id, head: this.head, lines: [], events, unfinished: this.#unfinished }
  }

  /** @param {any[]} objects */
  #receive(objects) {
    for (const each of objects) {
      if (each.seq !== undefined) {
        this.head = each.seq
        delete this.#unfinished[each.stream]
        this.#lines.push(each)
      } else if (each.event === "unfinished") {
        this.#unfinished[each.stream] = each.text
      } else if (each.event === "gap") {
        this.head = Math.max(this.head, each.to)
        this.#events.push(each)
      } else if (each.event === "reset") {
        this.head = 0
        this.#lines = []
        this.#events.push(each)
      } else if (each.event === "end") {
        this.#end = each
        this.#unfinished = {}
        this.#events.push(each)
      } else continue
      this.#timer ??= setTimeout(() => this.#flush(), TICK)
    }
    if (this.#lines.length > 2 * MOST_LINES) this.#lines = this.#lines.slice(-MOST_LINES)
  }

  #flush() {
    this.#timer = undefined
    const lines = this.#lines.slice(-MOST_LINES)
    const news = { ...this.now(), lines, events: this.#events }
    this.#lines = []
    this.#events = []
    this.tell(news)
  }
}
