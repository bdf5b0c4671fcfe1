/**
 * Who wants what: the tabs of this browser, and the stream that serves them.
 *
 * Tabs are ports. A tab says `{ kind: "follow", key, id, after }`, where the id is that of a log or
 * `CHANGES`, `{ kind: "drop", id }`, `{ kind: "wake" }`, `{ kind: "here" }` or `{ kind: "bye" }`. It hears
 * `{ kind: "news", ... }` and `{ kind: "state", state, key }`.
 */

import { CHANGES, ChangeNews } from "./change_news.js"
import { LogNews } from "./log_news.js"
import { Stream } from "./stream.js"

/** @typedef {{ postMessage: (message: any) => void, onmessage: ((event: any) => void) | null }} Port */
/** @typedef {{ ids: Set<string>, seen: number }} Tab */

/** Milliseconds. A port does not tell that its tab is gone, and a hidden tab says so once a minute. */
export const ABSENCE = 180_000

export class Hub {
  /** @type {Map<Port, Tab>} */
  #tabs = new Map()
  #stream = this.#newStream("")

  /** @param {Port} port */
  add(port) {
    this.#tabs.set(port, { ids: new Set(), seen: Date.now() })
    port.onmessage = (event) => this.#hear(port, event.data)
  }

  statistics() {
    return { tabs: this.#tabs.size, followed: this.#stream.size }
  }

  /** Forget the tabs that have not been heard for long. */
  sweep(now = Date.now()) {
    for (const [port, tab] of this.#tabs) {
      if (now - tab.seen > ABSENCE) this.#tabs.delete(port)
    }
    this.#removeUnwanted()
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
    else if (message.kind === "bye") this.#tabs.delete(port)
    else if (message.kind === "wake") this.#stream.wake()
    this.#removeUnwanted()
  }

  /**
   * @param {Port} port
   * @param {Tab} tab
   * @param {{ key: string, id: string, after: any }} message
   */
  #follow(port, tab, { key, id, after }) {
    if (key !== this.#stream.key || this.#stream.state === "signed out") {
      // Another session: nothing of the last one goes on.
      this.#stream.stop()
      this.#stream = this.#newStream(key)
      // The tabs that still want something of the last one follow again.
      this.#tell("connecting", key)
    }
    tab.ids.add(id)
    const known = this.#stream.get(id)
    if (known) port.postMessage({ kind: "news", ...known.now() })
    else this.#stream.add(id === CHANGES ? new ChangeNews(after) : new LogNews(id, after))
    port.postMessage({ kind: "state", state: this.#stream.state, key })
  }

  /** @param {string} key */
  #newStream(key) {
    return new Stream(
      key,
      (news) => {
        for (const [port, { ids }] of this.#tabs) if (ids.has(news.id)) port.postMessage({ kind: "news", ...news })
      },
      (state) => this.#tell(state, key),
    )
  }

  /** @param {import("./follower.js").State} state @param {string} key That of the stream. */
  #tell(state, key) {
    for (const [port, { ids }] of this.#tabs) if (ids.size) port.postMessage({ kind: "state", state, key })
  }

  #removeUnwanted() {
    const wanted = new Set([...this.#tabs.values()].flatMap(({ ids }) => [...ids]))
    for (const id of this.#stream.ids()) if (!wanted.has(id)) this.#stream.remove(id)
  }
}
