/** Notices that the server has another build of the page than this one. */

import { make } from "./element.js"

/** Ask the server after a reconnect, when it may be another one. */
export async function offerReload() {
  const answer = await fetch("/", { credentials: "omit" }).catch(() => undefined)
  const build = /data-build="(\w+)"/.exec((await answer?.text().catch(() => "")) ?? "")?.[1]
  if (!build || build === document.documentElement.dataset.build || document.querySelector(".upgrade")) return
  const reload = make("button", { type: "button", class: "button edge", onclick: () => location.reload() }, "Reload")
  document.body.append(make("p", { class: "toast upgrade", role: "alert" }, "The server was upgraded. ", reload))
}
