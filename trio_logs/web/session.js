/** The key of this browser, and the requests that are made with it. */

import { Problem, send } from "./wire/request.js"

const STORED = "trio-logs-key"
const READ_ONLY = "trio-logs-read-only"
const WHY = "trio-logs-signed-out"
const ENDED = "Your session has ended: sign in again."
const UNHEARD = "This browser is signed out. The server did not answer, so the session itself may go on until it expires."

export class Session {
  key = ""
  isReadOnly = false
  /** Why there is no key, in words for people; may be empty. */
  why = ""

  /** @param {() => void} changed The key is another one, or is gone. */
  constructor(changed) {
    this.changed = changed
    this.#read()
    // All tabs sign in and out together. A page that the browser kept for Back has missed what they did.
    addEventListener("storage", () => this.reread())
    addEventListener("pageshow", ({ persisted }) => persisted && this.reread())
  }

  /**
   * Make a request. Throws `Problem`; a 401 ends the session.
   *
   * @param {string} path
   * @param {RequestInit & { json?: unknown }} [options]
   */
  async send(path, options) {
    const { key } = this
    try {
      return await send(key, path, options)
    } catch (error) {
      if (isRefusal(error)) this.forget(key)
      throw error
    }
  }

  /** @param {string} path @param {RequestInit & { json?: unknown }} [options] */
  async fetchJSON(path, options) {
    return (await this.send(path, options)).json()
  }

  /** Whether the service knows the key. It does, as long as it does not say otherwise. */
  async isKnown() {
    if (!this.key) return false
    return send(this.key, "/v1/session").then(
      () => true,
      (error) => !isRefusal(error),
    )
  }

  /**
   * Exchange the token, or a code, for a key. Throws `Problem`.
   *
   * @param {{ token?: string, code?: string }} proof
   */
  async signIn({ token = "", code = "" }) {
    const answer = await send(token, "/v1/session", { method: "POST", ...(code ? { json: { code } } : {}) })
    const { key, read_only } = await answer.json()
    // The key comes last: it is what other tabs look at.
    localStorage.removeItem(WHY)
    localStorage.setItem(READ_ONLY, String(read_only))
    localStorage.setItem(STORED, key)
    this.reread()
  }

  async signOut() {
    const { key } = this
    const isHeard = await send(key, "/v1/session", { method: "DELETE" }).then(
      () => true,
      // It has ended already.
      (error) => isRefusal(error),
    )
    this.forget(key, isHeard ? "" : UNHEARD)
  }

  /** Forget this key, unless there is another one already. @param {string} key @param {string} [why] */
  forget(key, why = ENDED) {
    if (key && localStorage.getItem(STORED) === key) {
      localStorage.setItem(WHY, why)
      localStorage.removeItem(READ_ONLY)
      localStorage.removeItem(STORED)
    }
    this.reread()
  }

  /** Whether another tab has signed in or out since. */
  reread() {
    const before = this.key
    this.#read()
    if (this.key === before) return false
    this.changed()
    return true
  }

  #read() {
    this.key = localStorage.getItem(STORED) ?? ""
    this.isReadOnly = localStorage.getItem(READ_ONLY) === "true"
    this.why = localStorage.getItem(WHY) ?? ""
  }
}

/** @param {unknown} error */
const isRefusal = (error) => error instanceof Problem && error.status === 401
