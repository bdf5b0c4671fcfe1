/** The key of this browser, and the requests that are made with it. */

import { Problem, send } from "./wire/request.js"

const STORED = "trio-logs-key"
const READ_ONLY = "trio-logs-read-only"

export class Session {
  key = localStorage.getItem(STORED) ?? ""
  isReadOnly = localStorage.getItem(READ_ONLY) === "true"

  /** @param {() => void} signedOut */
  constructor(signedOut) {
    this.signedOut = signedOut
  }

  /**
   * Make a request. Throws `Problem`; a 401 ends the session.
   *
   * @param {string} path
   * @param {RequestInit & { json?: unknown }} [options]
   */
  async send(path, options) {
    try {
      return await send(this.key, path, options)
    } catch (error) {
      if (error instanceof Problem && error.status === 401) this.forget()
      throw error
    }
  }

  /** @param {string} path @param {RequestInit & { json?: unknown }} [options] */
  async fetchJSON(path, options) {
    return (await this.send(path, options)).json()
  }

  /**
   * Exchange the token, or a code, for a key. Throws `Problem`.
   *
   * @param {{ token?: string, code?: string }} proof
   */
  async signIn({ token = "", code = "" }) {
    const answer = await send(token, "/v1/session", { method: "POST", ...(code ? { json: { code } } : {}) }).catch(
      async (error) => {
        // A service without sessions takes its token as the key.
        if (!(error instanceof Problem && error.status === 404 && token)) throw error
        await send(token, "/v1/version")
        return undefined
      },
    )
    const { key, read_only } = answer ? await answer.json() : { key: token, read_only: false }
    this.key = key
    this.isReadOnly = read_only
    localStorage.setItem(STORED, key)
    localStorage.setItem(READ_ONLY, String(read_only))
  }

  async signOut() {
    await send(this.key, "/v1/session", { method: "DELETE" }).catch(() => {})
    this.forget()
  }

  forget() {
    this.key = ""
    localStorage.removeItem(STORED)
    localStorage.removeItem(READ_ONLY)
    this.signedOut()
  }
}
