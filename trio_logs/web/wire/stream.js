/** The one stream of all that the tabs follow. */

import { CHANGES } from "./change_news.js"
import { Follower } from "./follower.js"
import { send } from "./request.js"

/** @typedef {import("./follower.js").State} State */
/** @typedef {import("./log_news.js").LogNews | import("./change_news.js").ChangeNews} News */

/** Milliseconds between two messages to a tab. */
export const TICK = 50
/** Milliseconds: what a page follows when it opens becomes one request. */
const SETTLING = 10
/** The service takes no more in one stream. */
const MOST_LOGS = 128

export class Stream {
  /** By id. @type {Map<string, News>} */
  #followed = new Map()
  /** What has something to tell. @type {Set<News>} */
  #changed = new Set()
  /** @type {Follower | undefined} */
  #follower = undefined
  /** What the open answer still has: an end takes a log out of it. @type {Set<string>} */
  #selected = new Set()
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #ticking = undefined
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #settling = undefined
  /** @type {State} */
  state = "connecting"

  /**
   * @param {string} key
   * @param {(news: any) => void} tell
   * @param {(state: State) => void} turn
   */
  constructor(key, tell, turn) {
    this.key = key
    this.tell = tell
    this.turned = turn
  }

  get size() {
    return this.#followed.size
  }

  ids() {
    return [...this.#followed.keys()]
  }

  /** @param {string} id */
  get(id) {
    return this.#followed.get(id)
  }

  /** @param {News} news Its place says where to go on. */
  add(news) {
    this.#followed.set(news.id, news)
    this.#settle()
  }

  /** @param {string} id */
  remove(id) {
    if (this.#followed.delete(id)) this.#settle()
  }

  stop() {
    clearTimeout(this.#ticking)
    clearTimeout(this.#settling)
    this.#follower?.stop()
  }

  wake() {
    this.#follower?.wake()
  }

  /** What still comes: logs that have not ended, and the changes. */
  #wanted() {
    return [...this.#followed.values()].filter((news) => !news.end).slice(-MOST_LOGS)
  }

  #settle() {
    this.#settling ??= setTimeout(() => {
      this.#settling = undefined
      const ids = this.#wanted().map(({ id }) => id)
      const isOpen = ids.join() === [...this.#selected].join() && this.state !== "gone"
      if (ids.length && isOpen) return
      this.#selected = new Set(ids)
      this.#follower?.stop()
      if (!ids.length) return
      const { state } = this
      this.#follower = new Follower({
        open: (signal) => this.#open(signal),
        receive: (objects) => this.#receive(objects),
        isOver: () => !this.#wanted().length,
        // That another selection connects says nothing about the connection.
        turn: (next) => {
          this.#turn(next === "connecting" ? state : next)
          if (next === "gone") this.#lose()
        },
      })
    }, SETTLING)
  }

  /** The service knows none of the logs. The changes go on. */
  #lose() {
    for (const news of this.#wanted()) {
      if (news.id === CHANGES) this.#settle()
      else news.receive({ event: "gone" })
      this.#change(news)
    }
  }

  /** @param {State} state */
  #turn(state) {
    this.state = state
    this.turned(state)
  }

  /** Each log goes on after its last line, so the position of a stream is not needed. @param {AbortSignal} signal */
  #open(signal) {
    const wanted = this.#wanted()
    // What was unfinished before a cut may never be finished.
    if (this.state === "reconnecting") for (const news of wanted) if (news.forget()) this.#change(news)
    const query = wanted.map((news) => news.parameter).join("&")
    return send(this.key, `/v1/logs?${query}&unfinished=true`, { signal, headers: { Accept: "application/x-ndjson" } })
  }

  /** @param {any[]} objects */
  #receive(objects) {
    for (const each of objects) {
      const news = this.#followed.get(each.workload ?? CHANGES)
      if (!news || each.event === "heartbeat" || each.event === "shutdown") continue
      news.receive(each)
      if (news.end) this.#selected.delete(news.id)
      if (each.event !== "position") this.#change(news)
    }
  }

  /** @param {News} news */
  #change(news) {
    this.#changed.add(news)
    this.#ticking ??= setTimeout(() => this.#flush(), TICK)
  }

  #flush() {
    this.#ticking = undefined
    for (const news of this.#changed) this.tell(news.take())
    this.#changed.clear()
  }
}
