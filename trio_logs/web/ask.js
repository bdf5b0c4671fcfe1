/** Questions and messages. */

import { make } from "./element.js"

/**
 * Whether the person agrees.
 *
 * @param {string} question
 * @param {string} answer The name of the button that agrees.
 * @returns {Promise<boolean>}
 */
export function ask(question, answer) {
  return new Promise((done) => {
    const dialog = make(
      "dialog",
      {
        "aria-label": question,
        onclose: () => {
          dialog.remove()
          done(dialog.returnValue === "yes")
        },
      },
      make("p", {}, question),
      make("form", { method: "dialog", class: "line" }, make("button", { class: "button edge", value: "yes" }, answer), make("button", { class: "button", value: "no" }, "Cancel")),
    )
    document.body.append(dialog)
    dialog.showModal()
  })
}

/** Milliseconds. */
const SHOWN = 5000

/** Say something that needs no answer. The element goes by itself. @param {string} words */
export function say(words) {
  const element = make("p", { class: "toast", role: "alert" }, words)
  document.querySelector(".toast:not(.upgrade)")?.remove()
  document.body.append(element)
  setTimeout(() => element.remove(), SHOWN)
  return element
}

/** Ask for the number of a line. @param {(line: number) => void} go */
export function askForLine(go) {
  const input = make("input", { type: "text", inputmode: "numeric", pattern: "[0-9,]+", "aria-label": "Go to line", required: true })
  const form = make("form", { method: "dialog", class: "line" }, input, make("button", { class: "button edge", value: "yes" }, "Go"))
  const dialog = make("dialog", {
    "aria-label": "Go to line",
    onclose: () => {
      dialog.remove()
      const line = Number(input.value.replace(/\D/g, ""))
      if (dialog.returnValue === "yes" && line) go(line)
    },
  }, make("label", {}, "Go to line ", form))
  document.body.append(dialog)
  dialog.showModal()
  input.focus()
}
