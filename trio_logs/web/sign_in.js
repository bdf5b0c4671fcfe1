/** The form that shows where no key is. */

import { make } from "./element.js"
import { Problem } from "./wire/request.js"

/**
 * @param {import("./session.js").Session} session
 * @param {string} [complaint] Why the browser is not signed in.
 * @param {() => void} [retry] Tries again what has failed.
 */
export function signInForm(session, complaint = "", retry) {
  const token = make("input", { id: "token", type: "password", autocomplete: "current-password", required: true, spellcheck: "false" })
  const alert = make("p", { role: "alert", class: "bad" }, complaint)
  const submit = make("button", { type: "submit", class: "button edge" }, "Sign in")
  const form = make(
    "form",
    {
      class: "sign-in",
      onsubmit: async (/** @type {Event} */ event) => {
        event.preventDefault()
        submit.disabled = true
        alert.textContent = ""
        try {
          await session.signIn({ token: token.value.trim() })
        } catch (error) {
          alert.textContent = reason(error, "This token is wrong.")
          submit.disabled = false
          token.select()
        }
      },
    },
    make("h1", {}, "trio-logs"),
    make("p", { role: "status", "aria-label": "Connection", class: "state", "data-state": "signed out" }, "signed out"),
    make("label", { for: "token" }, "Token"),
    make("div", { class: "line" }, token, submit),
    alert,
    retry ? make("div", {}, make("button", { type: "button", class: "button edge", onclick: retry }, "Try the link again")) : "",
    make("p", {}, make("code", {}, "trio-logs open"), " signs you in by itself; ", make("code", {}, "trio-logs token"), " prints the token."),
  )
  return { form, focus: () => token.focus() }
}

/** Why a code did not sign in, and whether it never will. @param {unknown} error */
export function ofCode(error) {
  const words = reason(error, "This sign-in link was used or is too old: make a new one with trio-logs open.")
  return { words, isFinal: error instanceof Problem && error.status === 401 }
}

/** @param {unknown} error @param {string} refused What a 401 means. */
function reason(error, refused) {
  if (!(error instanceof Problem)) return "The server does not answer."
  return error.status === 401 ? refused : error.message
}
