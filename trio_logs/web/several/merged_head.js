/** The head of a merged view: each log with its colour and its state, a link to it alone, and a button that takes it out. */

import { make } from "../element.js"
import { icon } from "../icons.js"

/** @typedef {import("../format.js").Workload} Workload */

export class MergedHead {
  #stamp = ""

  /**
   * @param {string[]} ids
   * @param {(id: string) => void} close
   */
  constructor(ids, close) {
    this.ids = ids
    this.close = close
    this.element = make("header", { class: "head legend" })
  }

  /**
   * @param {Map<string, { name: string, colour: number }>} names
   * @param {Map<string, Workload>} workloads
   */
  show(names, workloads) {
    const logs = this.ids.map((id) => ({ id, name: names.get(id)?.name ?? id, colour: names.get(id)?.colour ?? 0, status: workloads.get(id)?.status ?? "" }))
    const stamp = JSON.stringify(logs)
    if (stamp === this.#stamp) return
    this.#stamp = stamp
    this.element.replaceChildren(
      make("h1", { class: "unseen" }, "Merged logs"),
      ...logs.map(({ id, name, colour, status }) =>
        make(
          "span",
          { class: "of" },
          icon(status, status),
          make("a", { href: `/w/${id}`, class: `n${colour}` }, name),
          make("button", { type: "button", class: "plain", "aria-label": `Take ${name} out`, title: `Take ${name} out`, onclick: () => this.close(id) }, icon("close")),
        ),
      ),
    )
  }
}
