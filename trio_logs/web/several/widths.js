/** How wide the panes are, and the dividers that change it. */

import { nameOf } from "../format.js"
import { divider } from "./divider.js"

/** @typedef {import("../log/view.js").LogView} LogView */

export class Widths {
  /** By the id of the log; 1 where nobody has chosen. @type {Map<string, number>} */
  #shares = new Map()
  /** @type {{ element: HTMLElement, left: LogView }[]} */
  #dividers = []

  /** @param {LogView[]} views The panes in their order. @returns {HTMLElement[]} With a divider between two of them. */
  arrange(views) {
    for (const id of this.#shares.keys()) if (!views.some((view) => view.id === id)) this.#shares.delete(id)
    for (const view of views) this.#apply(view)
    this.#dividers = views.slice(1).map((right, place) => {
      const left = views[place] ?? right
      return { element: divider(this.#percent(left, right), (percent) => this.#share(left, right, percent)), left }
    })
    return views.flatMap(({ element }, place) => [this.#dividers[place - 1]?.element ?? [], element].flat())
  }

  /** Name the dividers after the panes on their left, once these have names. */
  name() {
    for (const { element, left } of this.#dividers) {
      element.setAttribute("aria-label", left.workload ? `Width of ${nameOf(left.workload)}` : "Width")
    }
  }

  /** @param {LogView} view */
  #apply(view) {
    view.element.style.flexGrow = String(this.#of(view))
  }

  /** @param {LogView} view */
  #of({ id }) {
    return this.#shares.get(id) ?? 1
  }

  /** @param {LogView} left @param {LogView} right */
  #percent(left, right) {
    return (100 * this.#of(left)) / (this.#of(left) + this.#of(right))
  }

  /** @param {LogView} left @param {LogView} right @param {number} percent */
  #share(left, right, percent) {
    const both = this.#of(left) + this.#of(right)
    this.#shares.set(left.id, (both * percent) / 100).set(right.id, both - (both * percent) / 100)
    this.#apply(left)
    this.#apply(right)
  }
}
