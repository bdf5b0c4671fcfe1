/** The rows of the list: one link for each workload. */

import { make, setText } from "../element.js"
import { age, clock, lasted, nameOf, outcome, shortId } from "../format.js"
import { icon } from "../icons.js"

/** @typedef {import("../format.js").Workload} Workload */

class Row {
  #status = ""
  #stamp = ""
  #icon = make("span", { class: "shape" })
  #name = make("span", { class: "name" })
  #state = make("span", { class: "unseen" })
  #age = make("span", { class: "age" })
  #command = make("span", { class: "command" })
  #time = make("span", { class: "time" })

  /** @param {string} id */
  constructor(id) {
    // The link stays the same element: a click on one that is replaced meanwhile would be lost.
    this.link = make("a", { href: `/w/${id}` }, this.#icon, this.#name, this.#state, this.#age, this.#command, this.#time)
    this.element = make("li", {}, this.link)
  }

  /** @param {Workload} workload @param {boolean} isCurrent @param {number} now Milliseconds. */
  show(workload, isCurrent, now) {
    const since = age((now - Date.parse(workload.created_at)) / 1000)
    const time = workload.started_at ? clock(lasted(workload, now)) : ""
    // Thousands of rows are asked each second, and few have changed.
    const stamp = [workload.status, since, time, isCurrent].join()
    if (stamp === this.#stamp) return
    this.#stamp = stamp
    if (this.#status !== workload.status) {
      this.#status = workload.status
      this.#icon.replaceChildren(icon(workload.status, workload.status))
    }
    setText(this.#name, nameOf(workload))
    setText(this.#state, ` ${workload.status.replace("_", " ")} `)
    setText(this.#age, since)
    // Without a name, the command has its place.
    setText(this.#command, (workload.name && (workload.command ?? []).join(" ")) || shortId(workload.id))
    setText(this.#time, time)
    const labels = Object.entries(workload.labels ?? {}).map((pair) => pair.join("="))
    this.link.title = [outcome(workload, now), ...labels].join("\n")
    if (isCurrent) this.link.setAttribute("aria-current", "page")
    else this.link.removeAttribute("aria-current")
  }
}

export class Rows {
  element = make("ul", {})
  /** By the id of the workload. @type {Map<string, Row>} */
  #rows = new Map()

  /**
   * @param {Workload[]} workloads
   * @param {string[]} current The ids of those whose logs show.
   */
  show(workloads, current) {
    const now = Date.now()
    const kept = new Set(workloads.map(({ id }) => id))
    for (const [id, { element }] of this.#rows) {
      if (kept.has(id)) continue
      element.remove()
      this.#rows.delete(id)
    }
    let place = this.element.firstElementChild
    for (const workload of workloads) {
      const row = this.#rows.get(workload.id) ?? new Row(workload.id)
      this.#rows.set(workload.id, row)
      row.show(workload, current.includes(workload.id), now)
      if (row.element === place) place = place.nextElementSibling
      else this.element.insertBefore(row.element, place)
    }
  }
}
