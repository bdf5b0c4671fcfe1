/** A workload in the list: one link. */

import { make } from "../element.js"
import { nameOf } from "../format.js"
import { icon } from "../icons.js"

/** @typedef {import("../format.js").Workload} Workload */

/**
 * @param {HTMLElement} element
 * @param {Workload} workload
 * @param {{ time: string, since: string, isCurrent: boolean }} shown
 */
export function fillRow(element, workload, { time, since, isCurrent }) {
  const old = element.querySelector("a")
  const hadFocus = old !== null && old === document.activeElement
  const command = (workload.command ?? []).join(" ")
  const status = workload.status.replace("_", " ")
  const link = make(
    "a",
    { href: `/w/${workload.id}`, title: labelsOf(workload) || undefined, "aria-current": isCurrent ? "page" : undefined },
    icon(workload.status, workload.status),
    make("span", { class: "name" }, nameOf(workload)),
    make("span", { class: "unseen" }, ` ${status} `),
    make("span", { class: "age" }, since),
    make("span", { class: "command" }, command),
    make("span", { class: "time" }, workload.started_at ? time : ""),
  )
  element.replaceChildren(link)
  if (hadFocus) link.focus()
}

/** @param {Workload} workload */
const labelsOf = ({ labels }) => Object.entries(labels ?? {}).map((pair) => pair.join("=")).join(", ")
