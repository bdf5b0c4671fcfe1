/** The dialog that starts a workload. */

import { idempotencyKey } from "../actions.js"
import { make } from "../element.js"

/** @typedef {import("../format.js").Workload} Workload */

/** @param {string} text Lines of `NAME=value`. @returns {Record<string, string>} */
export function pairsOf(text) {
  const lines = text.split("\n").filter((line) => line.trim())
  for (const line of lines) if (line.indexOf("=") < 1) throw new Error(`"${line}" is not of the form NAME=value`)
  return Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf("=")).trim(), line.slice(line.indexOf("=") + 1)]))
}

/**
 * @param {import("../session.js").Session} session
 * @param {(workload: Workload) => void} started
 */
export function openRunDialog(session, started) {
  // The same for each attempt of this dialog: a repeated one starts nothing twice.
  const key = idempotencyKey()
  const command = make("textarea", { id: "run-command", rows: "3", required: true, spellcheck: "false" })
  const name = make("input", { id: "run-name", maxlength: "200", autocomplete: "off" })
  const folder = make("input", { id: "run-folder", autocomplete: "off", spellcheck: "false" })
  const environment = make("textarea", { id: "run-environment", rows: "2", placeholder: "NAME=value", spellcheck: "false" })
  const labels = make("textarea", { id: "run-labels", rows: "1", placeholder: "name=value", spellcheck: "false" })
  const limit = make("input", { id: "run-limit", type: "number", min: "0", step: "any", placeholder: "seconds" })
  const terminal = make("input", { id: "run-terminal", type: "checkbox" })
  const alert = make("p", { role: "alert", class: "bad" })
  const submit = make("button", { type: "submit", class: "button edge" }, "Run")
  const field = (/** @type {string} */ label, /** @type {HTMLElement} */ input) => [make("label", { for: input.id }, label), input]
  const form = make(
    "form",
    { onsubmit: run },
    make("h2", {}, "Run a workload"),
    make("div", { class: "fields" }, ...field("Command", command), ...field("Name", name), ...field("Folder", folder), ...field("Environment", environment), ...field("Labels", labels), ...field("Time limit", limit), ...field("Terminal", terminal)),
    alert,
    make("div", { class: "line" }, submit, make("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Cancel")),
  )
  const dialog = make("dialog", { "aria-label": "Run a workload", class: "run", onclose: () => dialog.remove() }, form)

  async function run(/** @type {Event} */ event) {
    event.preventDefault()
    submit.disabled = true
    try {
      const json = {
        command: ["sh", "-c", command.value],
        ...(name.value && { name: name.value }),
        ...(folder.value && { cwd: folder.value }),
        ...(limit.value && { timeout: Number(limit.value) }),
        env: pairsOf(environment.value),
        labels: pairsOf(labels.value),
        pty: terminal.checked,
      }
      const workload = await session.fetchJSON("/v1/workloads", { method: "POST", json, headers: { "Idempotency-Key": key } })
      dialog.close()
      started(workload)
    } catch (error) {
      alert.textContent = error instanceof Error ? error.message : String(error)
    }
    submit.disabled = false
  }

  document.body.append(dialog)
  dialog.showModal()
  command.focus()
}
