/** Fetches the lines that are in view, and gives up what is not any more. */

import { objectsOf } from "../wire/ndjson.js"
import { LOOK_BACK } from "./lines.js"

/** Lines around those in view, which the style of the first one may need, too. */
const AROUND = Math.max(150, LOOK_BACK)
/** Characters after which an answer is left: the view asks for the rest if it needs it. */
const MOST_CHARACTERS = 1_500_000
/** Milliseconds between two attempts at the same lines. */
const PAUSE = 1000

export class Loader {
  /** @type {{ from: number, to: number, abort: AbortController } | undefined} */
  #current = undefined
  /** Lines around those in view that are asked for: fewer where lines are long. */
  #around = AROUND
  /** What came without the lines that were asked for, and when. @type {Map<string, number>} */
  #tried = new Map()

  /**
   * @param {import("./model.js").LogModel} model
   * @param {(query: string, signal: AbortSignal) => Promise<Response>} read Reads the log.
   * @param {() => void} loaded
   * @param {(error: unknown) => void} fail
   */
  constructor(model, read, loaded, fail) {
    this.model = model
    this.read = read
    this.loaded = loaded
    this.fail = fail
  }

  close() {
    this.#current?.abort.abort()
    this.#current = undefined
  }

  /**
   * Have these lines soon.
   *
   * @param {number} from
   * @param {number} to
   */
  want(from, to) {
    const missing = this.model.missing(from, to)
    const current = this.#current
    // Its answer has what is in view, or is late.
    if (current && missing && missing[0] >= current.from && missing[0] <= current.to) return
    current?.abort.abort()
    this.#current = undefined
    if (!missing) return
    const first = Math.max(1, missing[0] - this.#around)
    this.#load(first, Math.min(missing[1] + this.#around, this.model.head), missing.join())
  }

  /**
   * @param {number} from
   * @param {number} to
   * @param {string} missing
   */
  async #load(from, to, missing) {
    if (Date.now() - (this.#tried.get(missing) ?? 0) < PAUSE) return
    this.#tried = new Map([[missing, Date.now()]])
    const current = { from, to, abort: new AbortController() }
    this.#current = current
    let characters = 0
    try {
      const answer = await this.read(`from=${from}&to=${to}`, current.abort.signal)
      if (answer.body) {
        for await (const objects of objectsOf(answer.body)) {
          if (this.#current !== current) return
          this.model.take(objects)
          for (const each of objects) characters += each.text?.length ?? 0
          this.loaded()
          if (characters > MOST_CHARACTERS) {
            // Lines before those in view must not take the place of these again.
            this.#around >>= 2
            this.#tried.clear()
            break
          }
        }
      }
      await this.#findStart(current.abort.signal)
      this.#end(current)
      this.loaded()
    } catch (error) {
      if (this.#current !== current) return
      this.#end(current)
      this.fail(error)
      // What is still in view is asked for again.
      setTimeout(() => this.loaded(), PAUSE)
    }
  }

  /** Lines that were removed are the first ones: once some are, ask for all, or each view of them would. @param {AbortSignal} signal */
  async #findStart(signal) {
    const { gaps } = this.model
    if (!gaps.all.some(({ from, reason }) => from > 1 && reason === "retention")) return
    const answer = await this.read("from=1&limit=1", signal)
    if (answer.body) for await (const objects of objectsOf(answer.body)) this.model.take(objects)
  }

  /** @param {object} current */
  #end(current) {
    if (this.#current === current) this.#current = undefined
  }
}
