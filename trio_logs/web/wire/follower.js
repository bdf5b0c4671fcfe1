/** An answer that goes on, over cuts: it resumes where it was, later after each failure. */

import { objectsOf } from "./ndjson.js"
import { Problem } from "./request.js"

/** @typedef {"connecting" | "live" | "reconnecting" | "signed out" | "gone" | "ended"} State */

/**
 * @typedef {object} Following
 * @property {(signal: AbortSignal) => Promise<Response>} open Asks for what follows what `receive` got.
 * @property {(objects: any[]) => void} receive Objects as they come, heartbeats included.
 * @property {() => boolean} isOver Whether nothing more comes after an answer that ended.
 * @property {(state: State) => void} turn
 */

/** Milliseconds. The server sends a heartbeat each 15 s. */
const SILENCE = 40_000
const FIRST_PAUSE = 250
const LONGEST_PAUSE = 10_000

export class Follower {
  #stop = new AbortController()
  /** Ends a pause. */
  #wake = () => {}

  /**
   * @param {Following} following
   * @param {number} [silence] Milliseconds after which an answer is given up.
   */
  constructor(following, silence = SILENCE) {
    this.following = following
    this.silence = silence
    this.#run()
  }

  stop() {
    this.#stop.abort()
    this.#wake()
  }

  /** Try now, if it waits: the network is back, or somebody looks. */
  wake() {
    this.#wake()
  }

  async #run() {
    const { turn } = this.following
    let failures = 0
    turn("connecting")
    while (!this.#stop.signal.aborted) {
      const result = await this.#once(() => (failures = 0))
      if (this.#stop.signal.aborted) return
      if (typeof result === "string") return turn(result)
      turn("reconnecting")
      const longest = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** failures)
      failures += 1
      // All clients of a server that restarts must not return in one moment.
      await this.#pause(result ?? longest * (0.5 + Math.random() / 2))
    }
  }

  /**
   * One answer. The state that it leads to, or the pause before the next one that the server asked for.
   *
   * @param {() => void} succeed
   * @returns {Promise<State | number | undefined>}
   */
  async #once(succeed) {
    const { open, receive, isOver, turn } = this.following
    const attempt = new AbortController()
    const abort = () => attempt.abort()
    this.#stop.signal.addEventListener("abort", abort)
    let timer = setTimeout(abort, this.silence)
    let pause
    try {
      const answer = await open(attempt.signal)
      if (answer.status === 204 || !answer.body) return "ended"
      turn("live")
      for await (const objects of objectsOf(answer.body)) {
        clearTimeout(timer)
        timer = setTimeout(abort, this.silence)
        succeed()
        if (this.#stop.signal.aborted) return undefined
        receive(objects)
        const last = objects.at(-1)
        if (last?.event === "shutdown") pause = last.retry
      }
      if (isOver()) return "ended"
    } catch (error) {
      if (error instanceof Problem && error.status === 401) return "signed out"
      if (error instanceof Problem && error.status === 404) return "gone"
      if (error instanceof SyntaxError || error instanceof ReferenceError) console.error(error)
    } finally {
      clearTimeout(timer)
      this.#stop.signal.removeEventListener("abort", abort)
      attempt.abort()
    }
    return pause
  }

  /** @param {number} milliseconds */
  async #pause(milliseconds) {
    await new Promise((done) => {
      const timer = setTimeout(done, milliseconds, undefined)
      this.#wake = () => {
        clearTimeout(timer)
        done(undefined)
      }
    })
    this.#wake = () => {}
  }
}
