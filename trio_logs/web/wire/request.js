/** Requests of the service, with the key of this browser. */

/** The status and the `detail` of a problem; see RFC 9457. */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {string} detail
   */
  constructor(status, detail) {
    super(detail)
    this.status = status
  }
}

/** No answer came. Browsers have other words for it, such as "Failed to fetch". */
export class Unanswered extends Error {
  constructor() {
    super("The server does not answer.")
  }
}

/**
 * Make a request. Throws `Problem` unless its answer is a success, and `Unanswered` where none comes.
 *
 * @param {string} key
 * @param {string} path
 * @param {RequestInit & { json?: unknown }} [options] `json` becomes the body.
 */
export async function send(key, path, { json, ...options } = {}) {
  const headers = new Headers(options.headers)
  if (key) headers.set("Authorization", `Bearer ${key}`)
  if (json !== undefined) headers.set("Content-Type", "application/json")
  const body = json === undefined ? options.body : JSON.stringify(json)
  const answer = await fetch(path, { ...options, headers, body, credentials: "omit", cache: "no-store" }).catch((error) => {
    throw options.signal?.aborted ? error : new Unanswered()
  })
  if (answer.ok) return answer
  const problem = await answer.json().catch(() => ({}))
  throw new Problem(answer.status, problem.detail ?? `the server answered ${answer.status}`)
}
