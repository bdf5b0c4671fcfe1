/** What can be done with a workload. */

import { ask, say } from "./ask.js"
import { nameOf } from "./format.js"

/** @typedef {import("./format.js").Workload} Workload */
/** @typedef {import("./session.js").Session} Session */

export const READ_ONLY = "This session is read-only"

/** @param {unknown} error */
const complain = (error) => say(error instanceof Error ? error.message : String(error))

/** Whether the session can't change anything; then it says so. @param {Session} session */
export function isRefused(session) {
  if (session.isReadOnly) say(READ_ONLY)
  return session.isReadOnly
}

/** @param {Session} session @param {Workload} workload */
export async function stop(session, workload) {
  if (isRefused(session) || !(await ask(`Stop ${nameOf(workload)}?`, "Stop"))) return
  await session.send(`/v1/workloads/${workload.id}/stop`, { method: "POST", json: {} }).catch(complain)
}

/**
 * The new workload, if there is one.
 *
 * @param {Session} session
 * @param {Workload} workload
 * @returns {Promise<Workload | undefined>}
 */
export async function rerun(session, workload) {
  if (isRefused(session) || !(await ask(`Run ${nameOf(workload)} again?`, "Run again"))) return undefined
  const path = `/v1/workloads/${workload.id}/rerun`
  return session.fetchJSON(path, { method: "POST", headers: { "Idempotency-Key": idempotencyKey() } }).catch(complain)
}

/** Whether it is gone. @param {Session} session @param {Workload} workload */
export async function remove(session, workload) {
  if (isRefused(session) || !(await ask(`Delete ${nameOf(workload)} and its log?`, "Delete"))) return false
  try {
    await session.send(`/v1/workloads/${workload.id}`, { method: "DELETE" })
    return true
  } catch (error) {
    complain(error)
    return false
  }
}

/** A key of 128 bits. `crypto.randomUUID` needs a secure context. */
export function idempotencyKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("")
}

/** @param {string} address */
export async function copy(address) {
  const isCopied = await navigator.clipboard?.writeText(address).then(
    () => true,
    () => false,
  )
  if (isCopied) return void say("The link is copied.")
  // Plain HTTP on another host than localhost has no clipboard, but selected text can be copied.
  const field = document.createElement("textarea")
  field.value = address
  document.body.append(field)
  field.select()
  say(document.execCommand("copy") ? "The link is copied." : address)
  field.remove()
}

/** Save a log as a file, by a link that works once. @param {Session} session @param {Workload} workload */
export async function download(session, workload) {
  const path = `/v1/workloads/${workload.id}/logs?download=${fileName(workload)}`
  const answer = await session.fetchJSON("/v1/session/codes", { method: "POST", json: { download: path } }).catch(complain)
  if (!answer) return
  const link = document.createElement("a")
  // A failure must not take the place of the page.
  link.download = ""
  link.href = `${path}&code=${answer.code}`
  link.click()
}

/** @param {Workload} workload */
const fileName = ({ name, id }) => `${(name ?? "").replace(/[^\w.-]+/g, "-").replace(/^[.-]+/, "") || id}.log`
