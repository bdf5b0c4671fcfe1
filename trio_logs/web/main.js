/** The page: what its address says, for a browser that is signed in, and the form for any other. */

import { Page } from "./page.js"
import { Session } from "./session.js"
import { parseAddress } from "./address.js"
import { say } from "./ask.js"
import { ofCode, signInForm } from "./sign_in.js"
import { make } from "./element.js"
import { applyTheme } from "./theme.js"

applyTheme()
const session = new Session(() => start())
/** @type {Page | undefined} */
let page

/**
 * @param {string} [complaint] Why the browser is not signed in.
 * @param {() => void} [retry] Tries again what has failed.
 */
function start(complaint = session.why, retry = undefined) {
  page?.close()
  page = undefined
  if (session.key) {
    page = new Page(session)
    document.body.replaceChildren(page.element)
    page.show(parseAddress(location))
    return
  }
  const { form, focus } = signInForm(session, complaint, retry)
  document.body.replaceChildren(make("main", { class: "alone" }, form))
  document.title = "Sign in · trio-logs"
  document.querySelector("link[rel=icon]")?.setAttribute("href", "/page/icons/list.svg")
  focus()
}

/** The code in the address, which loses it: it must not stay in the history. */
function takeCode() {
  const { code } = parseAddress(location)
  if (code !== undefined) history.replaceState(null, "", location.pathname + location.search)
  return code
}

/** @param {string} code */
async function enter(code) {
  if (!page) document.body.replaceChildren(make("main", { class: "alone" }, make("p", { class: "plain" }, "Signing in …")))
  // A key that has ended must not cost the person the code.
  if (await session.isKnown()) {
    if (!page) start()
    say("You are signed in already, so the code of the link was not used.")
    return
  }
  try {
    await session.signIn({ code })
  } catch (error) {
    session.forget(session.key)
    const { words, isFinal } = ofCode(error)
    start(words, isFinal ? undefined : () => enter(code))
  }
}

function look() {
  const code = takeCode()
  if (code !== undefined) enter(code)
  else return false
  return true
}

// A link that is pasted into this tab may change no more than what is behind `#`.
addEventListener("popstate", look)
if (!look()) start()
