/** This tab's end of the worker. */

/** @typedef {import("./follower.js").State} State */

/** Trusted Types let nothing else than this policy name a script. */
const policy = /** @type {any} */ (globalThis).trustedTypes?.createPolicy("trio-logs", {
  createScriptURL: (/** @type {string} */ address) => address,
})
/** The service joins `worker.js` and what it imports. */
const WORKER = "/page/joined/worker.js"
/** Milliseconds; the worker forgets a tab after minutes of silence. */
const PRESENCE = 20_000

export class Connection {
  /** @type {Map<string, { key: string, head: () => number | string, tell: (news: any) => void }>} */
  #followed = new Map()

  /** @param {(state: State) => void} turn */
  constructor(turn) {
    const address = policy?.createScriptURL(WORKER) ?? WORKER
    const isShared = "SharedWorker" in globalThis
    this.port = isShared
      ? new SharedWorker(address, { type: "module", name: "trio-logs" }).port
      : new Worker(address, { type: "module" })
    this.port.onmessage = ({ data }) => {
      if (data.kind === "state") turn(data.state)
      else this.#followed.get(data.id)?.tell(data)
    }
    setInterval(() => this.#say({ kind: "here" }), PRESENCE)
    addEventListener("pagehide", () => this.#say({ kind: "bye" }))
    // A page that comes back from the browser's cache says all it wants again.
    addEventListener("pageshow", ({ persisted }) => persisted && this.#resume())
    addEventListener("online", () => this.#say({ kind: "wake" }))
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") {
        if (!isShared) this.#resume()
        this.#say({ kind: "wake" })
      } else if (!isShared) this.#say({ kind: "bye" })
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
    this.#say({ kind: "follow", key, id, after: head() })
  }

  /** @param {string} id */
  drop(id) {
    if (this.#followed.delete(id)) this.#say({ kind: "drop", id })
  }

  #resume() {
    for (const [id, { key, head }] of this.#followed) this.#say({ kind: "follow", key, id, after: head() })
  }

  /** @param {any} message */
  #say(message) {
    this.port.postMessage(message)
  }
}
