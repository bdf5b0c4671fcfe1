/** The first row of a merged view, while its logs have earlier lines: it fetches them. */

import { say } from "../ask.js"
import { make } from "../element.js"

export class EarlierLines {
  /** @param {import("./merged_view.js").MergedView} view */
  constructor(view) {
    this.view = view
    this.button = make("button", { type: "button", class: "plain", onclick: () => this.#fetch() }, "Earlier lines")
    const [name, time] = [make("span", { class: "number" }), make("span", { class: "time" })]
    this.element = make("div", { class: "row earlier" }, name, time, make("span", { class: "text" }, this.button))
  }

  async #fetch() {
    const { model, rows, list, feed, found } = this.view
    if (model.isFull) return void say("No more lines fit in a merged view. A log alone shows all of its lines.")
    const top = rows.keyOf(1)
    this.button.disabled = true
    try {
      await feed.earlier(model.cut)
      // What was at the top stays in view: the earlier lines are above it.
      list.reveal(Math.max(0, rows.indexOf(top)), { always: true, part: 0 })
      found.search(this.view.place, true)
    } catch (error) {
      if (!(error instanceof DOMException)) say(error instanceof Error ? error.message : String(error))
    }
    this.button.disabled = false
  }
}
