/** The dialog that starts a workload. */

import { idempotencyKey } from "../actions.js"
import { make } from "../element.js"

/** @typedef {import("../format.js").Workload} Workload */

/**
 * Throws an error that names the field, as the service does.
 *
 * @param {string} text Lines of `NAME=value`.
 * @param {string} field
 * @returns {Record<string, string>}
 */
export function pairsOf(text, field) {
  const lines = text.split("\n").filter((line) => line.trim())
  for (const line of lines) if (line.indexOf("=") < 1) throw new Error(`${field}: "${line}" is not of the form NAME=value`)
  return Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf("=")).trim(), line.slice(line.indexOf("=") + 1)]))
}

const UNITS = { d: 86_400, h: 3600, m: 60, s: 1, ms: 0.001 }

/** The seconds of a duration, as the commands take it: "90", "5m", "1h30m". Throws an error that names the field. @param {string} text */
export function secondsOf(text) {
  const given = text.replace(/\s/g, "")
  if (/^\d+(\.\d+)?$/.test(given)) return Number(given)
  if (!/^(\d+(\.\d+)?(d|h|ms|m|s))+$/.test(given)) throw new Error(`timeout: "${text}" is no duration such as 90s, 5m or 1h30m`)
  const parts = given.matchAll(/([\d.]+)(d|h|ms|m|s)/g)
  return [...parts].reduce((sum, [, number, unit]) => sum + Number(number) * UNITS[/** @type {keyof typeof UNITS} */ (unit)], 0)
}

/** What is wrong with which field: "env: ..." or "... - at `$.timeout`". @param {string} problem */
export function fieldAndWords(problem) {
  const [, field, words] = /^(?:a (?:name|value) in )?(\w+)(?:, \w+)*: (.+)$/s.exec(problem) ?? []
  return { field: field ?? "", words: words ?? problem }
}

/**
 * @param {import("../session.js").Session} session
 * @param {(workload: Workload) => void} started
 */
export function openRunDialog(session, started) {
  // Attempts with the same fields have the same key, so a repeated one starts nothing twice.
  let [key, keyed] = ["", ""]
  const command = make("textarea", { id: "run-command", rows: "3", required: true, spellcheck: "false" })
  const name = make("input", { id: "run-name", maxlength: "200", autocomplete: "off" })
  const folder = make("input", { id: "run-folder", autocomplete: "off", spellcheck: "false" })
  const environment = make("textarea", { id: "run-environment", rows: "2", placeholder: "NAME=value", spellcheck: "false" })
  const labels = make("textarea", { id: "run-labels", rows: "1", placeholder: "name=value", spellcheck: "false" })
  const limit = make("input", { id: "run-limit", placeholder: "as in 90s, 5m or 1h30m", autocomplete: "off" })
  const terminal = make("input", { id: "run-terminal", type: "checkbox" })
  const alert = make("p", { role: "alert", class: "bad", id: "run-alert" })
  const submit = make("button", { type: "submit", class: "button edge" }, "Run")
  /** @type {Record<string, HTMLInputElement | HTMLTextAreaElement>} As the service calls them. */
  const inputs = { command, name, cwd: folder, env: environment, labels, timeout: limit, pty: terminal }
  const field = (/** @type {string} */ label, /** @type {HTMLElement} */ input) => [make("label", { for: input.id }, label), input]
  const form = make(
    "form",
    { onsubmit: run, onkeydown: (/** @type {KeyboardEvent} */ event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && form.requestSubmit() },
    make("h2", {}, "Run a workload"),
    make("div", { class: "fields" }, ...field("Command", command), ...field("Name", name), ...field("Folder", folder), ...field("Environment", environment), ...field("Labels", labels), ...field("Time limit", limit), ...field("Terminal", terminal)),
    alert,
    make("div", { class: "line" }, submit, make("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Cancel")),
  )
  const dialog = make("dialog", { "aria-label": "Run a workload", class: "run", onclose: () => dialog.remove() }, form)

  async function run(/** @type {Event} */ event) {
    event.preventDefault()
    submit.disabled = true
    complain("")
    try {
      const json = {
        command: ["sh", "-c", command.value],
        ...(name.value && { name: name.value }),
        ...(folder.value && { cwd: folder.value }),
        ...(limit.value && { timeout: secondsOf(limit.value) }),
        env: pairsOf(environment.value, "env"),
        labels: pairsOf(labels.value, "labels"),
        pty: terminal.checked,
      }
      if (JSON.stringify(json) !== keyed) [key, keyed] = [idempotencyKey(), JSON.stringify(json)]
      const workload = await session.fetchJSON("/v1/workloads", { method: "POST", json, headers: { "Idempotency-Key": key } })
      dialog.close()
      started(workload)
    } catch (error) {
      complain(error instanceof Error ? error.message : String(error))
    }
    submit.disabled = false
  }

  /** Say what is wrong, at the field that it is about. @param {string} problem Empty if nothing is. */
  function complain(problem) {
    const { field, words } = fieldAndWords(problem)
    const wrong = inputs[field]
    for (const input of Object.values(inputs)) {
      input.removeAttribute("aria-invalid")
      input.removeAttribute("aria-describedby")
    }
    if (wrong) wrong.after(alert)
    else form.lastElementChild?.before(alert)
    wrong?.setAttribute("aria-invalid", "true")
    wrong?.setAttribute("aria-describedby", alert.id)
    alert.textContent = wrong ? words : problem
    wrong?.focus()
  }

  document.body.append(dialog)
  dialog.showModal()
  command.focus()
}
