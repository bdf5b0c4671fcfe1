/** What can be done with a workload. */

import { ask, say } from "./ask.js"
import { nameOf } from "./format.js"

/** @typedef {import("./format.js").Workload} Workload */
/** @typedef {import("./session.js").Session} Session */

/** @param {unknown} error */
const complain = (error) => say(error instanceof Error ? error.message : String(error))

/** @param {Session} session @param {Workload} workload */
export async function stop(session, workload) {
  if (!(await ask(`Stop ${nameOf(workload)}?`, "Stop"))) return
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
  if (!(await ask(`Run ${nameOf(workload)} again?`, "Run again"))) return undefined
  const path = `/v1/workloads/${workload.id}/rerun`
  return session.fetchJSON(path, { method: "POST", headers: { "Idempotency-Key": idempotencyKey() } }).catch(complain)
}

/** Whether it is gone. @param {Session} session @param {Workload} workload */
export async function remove(session, workload) {
  if (!(await ask(`Delete ${nameOf(workload)} and its log?`, "Delete"))) return false
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
  if (isCopied) return say("The link is copied.")
  // Plain HTTP on another host than localhost has no clipboard, but selected text can be copied.
  const field = document.createElement("textarea")
  field.value = address
  document.body.append(field)
  field.select()
  say(document.execCommand("copy") ? "The link is copied." : address)
  field.remove()
}

/** Save a log as a file. @param {Session} session @param {Workload} workload */
export async function download(session, workload) {
  const name = fileName(workload)
  const path = `/v1/workloads/${workload.id}/logs?download=${name}`
  try {
    const { code } = await session.fetchJSON("/v1/session/codes", { method: "POST", json: { download: path } })
    save(`${path}&code=${code}`, name)
  } catch {
    // A service without codes: the browser saves what the page has fetched.
    const answer = await session.send(path).catch(complain)
    if (!answer) return
    const address = URL.createObjectURL(await answer.blob())
    save(address, name)
    setTimeout(() => URL.revokeObjectURL(address), 60_000)
  }
}

/** @param {Workload} workload */
const fileName = ({ name, id }) => `${(name ?? "").replace(/[^\w.-]+/g, "-").replace(/^[.-]+/, "") || id}.log`

/** @param {string} address @param {string} name */
function save(address, name) {
  const link = document.createElement("a")
  link.href = address
  link.download = name
  link.click()
}
