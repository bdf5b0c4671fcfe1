/** The head of a log: what it is, how it is, and what can be done with it. */

import { READ_ONLY } from "../actions.js"
import { make, setText } from "../element.js"
import { nameOf, outcome, shortId } from "../format.js"
import { icon } from "../icons.js"

/** @typedef {import("../format.js").Workload} Workload */

/**
 * @typedef {object} Actions
 * @property {() => void} stop
 * @property {() => void} rerun
 * @property {() => void} remove
 * @property {() => void} download
 * @property {() => void} copyLink
 */

const FINAL = ["succeeded", "failed", "stopped", "timed_out", "lost"]

/** @param {Workload} workload */
export const isFinal = ({ status }) => FINAL.includes(status)

/**
 * The later of two records of a workload. Answers overtake each other, and none runs again once it has ended.
 *
 * @param {Workload | undefined} known
 * @param {Workload} heard
 */
export const laterOf = (known, heard) => (known && isFinal(known) && !isFinal(heard) ? known : heard)

/**
 * @param {string} name
 * @param {string} shape
 * @param {() => void} act
 * @param {string} [kind]
 */
export function button(name, shape, act, kind = "button") {
  return make("button", { type: "button", class: kind, title: name, onclick: act }, icon(shape), make("span", {}, name))
}

export class Header {
  #isGone = false
  /** Why nothing can be done; empty if something can. */
  #reason = "It is not there yet"

  /** @param {Actions} actions */
  constructor(actions) {
    this.status = make("span", { class: "status" })
    this.title = make("h1", {})
    this.meta = make("span", { class: "meta" })
    this.code = make("code", {})
    this.stop = button("Stop", "stopped", actions.stop, "button danger")
    this.rerun = button("Run again", "again", actions.rerun, "button edge")
    this.download = button("Download", "download", actions.download, "button quiet")
    this.remove = button("Delete", "remove", actions.remove, "button quiet")
    this.rerun.hidden = true
    this.#allow()
    this.element = make(
      "header",
      { class: "head" },
      this.status,
      this.title,
      this.meta,
      this.code,
      make("span", { class: "grow" }),
      this.stop,
      this.rerun,
      this.download,
      button("Copy link", "link", actions.copyLink, "button quiet"),
      this.remove,
    )
  }

  /**
   * @param {Workload} workload
   * @param {boolean} isReadOnly
   */
  show(workload, isReadOnly) {
    if (this.status.dataset.status !== workload.status) {
      this.status.dataset.status = workload.status
      this.status.replaceChildren(icon(workload.status, workload.status))
    }
    setText(this.title, nameOf(workload))
    this.title.style.setProperty("--length", String(nameOf(workload).length))
    this.title.title = (workload.command ?? []).join(" ")
    const told = outcome(workload, Date.now())
    setText(this.meta, told)
    this.meta.title = told
    setText(this.code, shortId(workload.id))
    this.code.title = workload.id
    const isOver = isFinal(workload)
    this.stop.hidden = isOver
    this.rerun.hidden = !isOver
    if (this.#isGone) return
    this.#reason = isReadOnly ? READ_ONLY : ""
    this.#allow(workload.backend === "push" ? "Its output was pushed: start it where it ran" : "", isOver ? "" : "Stop it first")
    disable(this.download, "")
  }

  /** The workload is gone, or there was none. */
  lose() {
    this.#isGone = true
    this.#reason = "The service has no such workload"
    this.#allow()
  }

  /** @param {string} [rerun] Why it can't run again. @param {string} [remove] Why it can't be deleted. */
  #allow(rerun = "", remove = "") {
    disable(this.stop, this.#reason)
    disable(this.rerun, this.#reason || rerun)
    disable(this.remove, this.#reason || remove)
    disable(this.download, this.#reason)
  }
}

/** @param {HTMLButtonElement} element @param {string} reason Empty enables it. */
export function disable(element, reason) {
  element.disabled = Boolean(reason)
  element.title = reason || (element.textContent ?? "")
}
