/** The keys of the page. None of them fires while one types. */

import { make } from "./element.js"

/** @typedef {[keys: string[], words: string, act: () => void]} Key */

/** @param {KeyboardEvent} event */
function isTyping({ target }) {
  const element = /** @type {HTMLElement} */ (target)
  return Boolean(element.closest?.("input, textarea, select, [contenteditable], dialog, [role=menu]"))
}

/** @param {KeyboardEvent} event As in "g", "Shift-Space" or "Ctrl-G". */
function nameOf({ key, shiftKey, ctrlKey, metaKey }) {
  const name = key === " " ? "Space" : key
  if (ctrlKey || metaKey) return `Ctrl-${name.toUpperCase()}`
  return shiftKey && name.length > 1 ? `Shift-${name}` : name
}

/** @param {() => Key[]} keys Those that have a meaning now. */
export function listen(keys) {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey || isTyping(event)) return
    // A focused button or link has a meaning of its own for these.
    const isControl = /** @type {HTMLElement} */ (event.target).closest?.("button, a")
    if (isControl && (event.key === " " || event.key === "Enter")) return
    const found = keys().find(([names]) => names.includes(nameOf(event)))
    if (!found) return
    event.preventDefault()
    found[2]()
  })
}

/** What is on the keys themselves. @type {Record<string, string>} */
const CAPS = { ArrowDown: "↓", ArrowUp: "↑", PageDown: "Page ↓", PageUp: "Page ↑" }

/** Show a dialog that names the keys. @param {Key[]} keys */
export function showKeys(keys) {
  const rows = keys.map(([names, words]) =>
    make(
      "div",
      {},
      make("dt", {}, ...names.map((name) => make("kbd", {}, CAPS[name] ?? name))),
      make("dd", {}, words),
    ),
  )
  const close = make("form", { method: "dialog" }, make("button", { class: "button edge" }, "Close"))
  const dialog = make("dialog", { "aria-label": "Keys", class: "keys", onclose: () => dialog.remove() }, make("h2", {}, "Keys"), make("dl", {}, ...rows), close)
  document.body.append(dialog)
  dialog.showModal()
}
