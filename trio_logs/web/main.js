/** The page: what its address says, and the keys. */

import { Page } from "./page.js"
import { Session } from "./session.js"
import { parseAddress } from "./address.js"
import { reason, signInForm } from "./sign_in.js"
import { make } from "./element.js"
import { applyTheme } from "./theme.js"

applyTheme()
const session = new Session(() => start())
/** @type {Page | undefined} */
let page

/** @param {string} [complaint] */
function start(complaint) {
  page?.close()
  page = undefined
  if (session.key) {
    page = new Page(session)
    document.body.replaceChildren(page.element)
    page.show(parseAddress(location))
    return
  }
  const { form, focus } = signInForm(session, () => start(), complaint)
  document.body.replaceChildren(make("main", { class: "alone" }, form))
  document.title = "Sign in · trio-logs"
  focus()
}

const { code } = parseAddress(location)
if (code) {
  // It works once, and must not stay in the history.
  history.replaceState(null, "", location.pathname + location.search)
}
if (code && !session.key) {
  session.signIn({ code }).then(
    () => start(),
    (error) => start(error?.status === 401 ? "This sign-in link was used or is too old. `trio-logs open` makes a new one." : reason(error)),
  )
} else start()
