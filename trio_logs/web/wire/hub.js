/**
 * Who wants what: the tabs of this browser, and the streams that serve them.
 *
 * Tabs are ports. A tab says `{ kind: "follow", key, id, after }`, where the id is that of a log or `CHANGES`, `{ kind: "drop", id }`, `{ kind:
 * "wake" }`, `{ kind: "here" }` or `{ kind: "bye" }`, and hears `{ kind: "news", ... }` and `{ kind:
 * "state", state }`.
 */

import { CHANGES, ChangeStream } from "./change_stream.js"
import { LogStream } from "./log_stream.js"

/** @typedef {import("./follower.js").State} State */
/** @typedef {{ postMessage: (message: any) => void, onmessage: ((event: any) => void) | null }} Port */
/** @typedef {{ ids: Set<string>, seen: number }} Tab */

/** Milliseconds. A port does not tell that its tab is gone, and a hidden tab says so once a minute. */
export const ABSENCE = 180_000

/** The one that people have to know, of the states of several streams. @type {State[]} */
const ORDER = ["signed out", "reconnecting", "connecting", "live", "gone", "ended"]

export class Hub {
  /** @type {Map<Port, Tab>} */
  #tabs = new Map()
  /** By the id of their log. @type {Map<string, { stream: LogStream | ChangeStream, state: State }>} */
  #streams = new Map()
  #key = ""

  /** @param {Port} port */
  add(port) {
    this.#tabs.set(port, { ids: new Set(), seen: Date.now() })
    port.onmessage = (event) => this.#hear(port, event.data)
  }

  statistics() {
    return { tabs: this.#tabs.size, streams: this.#streams.size }
  }

  /** Forget the tabs that have not been heard for long. */
  sweep(now = Date.now()) {
    for (const [port, tab] of this.#tabs) {
      if (now - tab.seen > ABSENCE) this.#remove(port)
    }
  }

  /**
   * @param {Port} port
   * @param {any} message
   */
  #hear(port, message) {
    // A tab that was thought gone was only asleep.
    const tab = this.#tabs.get(port) ?? { ids: new Set(), seen: 0 }
    this.#tabs.set(port, tab)
    tab.seen = Date.now()
    if (message.kind === "follow") this.#follow(port, tab, message)
    else if (message.kind === "drop") tab.ids.delete(message.id)
    else if (message.kind === "bye") this.#remove(port)
    else if (message.kind === "wake") for (const { stream } of this.#streams.values()) stream.follower.wake()
    this.#stopUnwanted()
  }

  /**
   * @param {Port} port
   * @param {Tab} tab
   * @param {{ key: string, id: string, after: any }} message
   */
  #follow(port, tab, { key, id, after }) {
    if (key !== this.#key) {
      // Another session: nothing of the last one goes on.
      for (const { stream } of this.#streams.values()) stream.stop()
      this.#streams.clear()
      this.#key = key
    }
    tab.ids.add(id)
    const known = this.#streams.get(id)
    if (known?.state === "signed out") known.stream.stop()
    else if (known) {
      port.postMessage({ kind: "news", ...known.stream.now() })
      port.postMessage({ kind: "state", state: this.#state(tab) })
      return
    }
    const entry = { state: /** @type {State} */ ("connecting"), stream: /** @type {any} */ (undefined) }
    this.#streams.set(id, entry)
    const tell = (/** @type {object} */ news) => this.#tell(id, { kind: "news", ...news })
    const turn = (/** @type {State} */ state) => {
      entry.state = state
      for (const [other, { ids }] of this.#tabs) {
        if (ids.has(id)) other.postMessage({ kind: "state", state: this.#state({ ids }) })
      }
    }
    const isLog = id !== CHANGES
    entry.stream = isLog ? new LogStream(key, id, after, tell, turn) : new ChangeStream(key, after, tell, turn)
  }

  /**
   * @param {string} id
   * @param {any} message
   */
  #tell(id, message) {
    for (const [port, { ids }] of this.#tabs) if (ids.has(id)) port.postMessage(message)
  }

  /** @param {{ ids: Set<string> }} tab @returns {State} */
  #state({ ids }) {
    const states = [...ids].map((id) => this.#streams.get(id)?.state)
    return ORDER.find((state) => states.includes(state)) ?? "live"
  }

  /** @param {Port} port */
  #remove(port) {
    this.#tabs.delete(port)
    this.#stopUnwanted()
  }

  #stopUnwanted() {
    const wanted = new Set([...this.#tabs.values()].flatMap(({ ids }) => [...ids]))
    for (const [id, { stream }] of this.#streams) {
      if (wanted.has(id)) continue
      stream.stop()
      this.#streams.delete(id)
    }
  }
}
