/** The form that shows where no key is. */

import { make } from "./element.js"
import { Problem } from "./wire/request.js"

/**
 * @param {import("./session.js").Session} session
 * @param {() => void} signedIn
 * @param {string} [complaint] Why the last attempt failed.
 */
export function signInForm(session, signedIn, complaint = "") {
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
          signedIn()
        } catch (error) {
          alert.textContent = reason(error)
          token.select()
        }
        submit.disabled = false
      },
    },
    make("h1", {}, "trio-logs"),
    make("label", { for: "token" }, "Token"),
    make("div", { class: "line" }, token, submit),
    alert,
    make("p", {}, make("code", {}, "trio-logs open"), " signs you in by itself; ", make("code", {}, "trio-logs token"), " prints the token."),
  )
  return { form, focus: () => token.focus() }
}

/** @param {unknown} error */
export function reason(error) {
  if (error instanceof Problem && error.status === 401) return "This token is wrong."
  return error instanceof Problem ? error.message : "The server does not answer."
}
