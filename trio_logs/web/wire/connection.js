/** This tab's end of the worker. */

import { CHANGES } from "./change_news.js"

/** @typedef {import("./follower.js").State} State */

/** Trusted Types let nothing else than this policy name a script. */
const policy = /** @type {any} */ (globalThis).trustedTypes?.createPolicy("trio-logs", {
  createScriptURL: (/** @type {string} */ address) => address,
})
/** The service joins `worker.js` and what it imports. */
const WORKER = "/page/joined/worker.js"
/** Milliseconds; the worker forgets a tab after minutes of silence. */
const PRESENCE = 20_000
/** Milliseconds for which the list can wait: a worker starts as long as a log takes to show its first lines. */
const LATER = 300
const IS_SHARED = "SharedWorker" in globalThis

export class Connection {
  /** @type {Map<string, { key: string, head: () => number | string, tell: (news: any) => void }>} */
  #followed = new Map()
  /** @type {Worker | MessagePort | undefined} */
  #port = undefined
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #opening = undefined

  /** @param {(state: State, key: string) => void} turn Gets the state of the stream that this key opened. */
  constructor(turn) {
    this.turn = turn
    setInterval(() => this.#say({ kind: "here" }), PRESENCE)
    addEventListener("pagehide", () => this.#say({ kind: "bye" }))
    // A page that comes back from the browser's cache says all it wants again.
    addEventListener("pageshow", ({ persisted }) => persisted && this.resume())
    addEventListener("online", () => this.#say({ kind: "wake" }))
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") {
        if (!IS_SHARED) this.resume()
        this.#say({ kind: "wake" })
      } else if (!IS_SHARED) this.#say({ kind: "bye" })
    })
  }

  /**
   * Follow a log, or with the id `CHANGES` the changes of workloads.
   *
   * @param {string} key
   * @param {string} id
   * @param {() => number | string} head The number of the last line, or the position, that is known.
   * @param {(news: any) => void} tell Gets `News`, or `Changes`.
   */
  follow(key, id, head, tell) {
    this.#followed.set(id, { key, head, tell })
    if (this.#port) this.#say({ kind: "follow", key, id, after: head() })
    else this.#open(id === CHANGES ? LATER : 0)
  }

  /** @param {string} id */
  drop(id) {
    if (this.#followed.delete(id)) this.#say({ kind: "drop", id })
  }

  /** Start the worker, and follow what is wanted by then. @param {number} delay In milliseconds. */
  #open(delay) {
    if (delay && this.#opening !== undefined) return
    clearTimeout(this.#opening)
    this.#opening = setTimeout(() => {
      const address = policy?.createScriptURL(WORKER) ?? WORKER
      this.#port = IS_SHARED
        ? new SharedWorker(address, { type: "module", name: "trio-logs" }).port
        : new Worker(address, { type: "module" })
      this.#port.onmessage = ({ data }) => {
        if (data.kind === "state") this.turn(data.state, data.key)
        else this.#followed.get(data.id)?.tell(data)
      }
      this.resume()
    }, delay)
  }

  /** Say again all that this tab follows. */
  resume() {
    for (const [id, { key, head }] of this.#followed) this.#say({ kind: "follow", key, id, after: head() })
  }

  /** @param {any} message */
  #say(message) {
    this.#port?.postMessage(message)
  }
}
