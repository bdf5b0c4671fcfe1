/** What a search has found: the logs, each with its lines and a link from each line to its place. */

import { formatAddress } from "../address.js"
import { make, setText } from "../element.js"
import { age, grouped, nameOf } from "../format.js"
import { icon } from "../icons.js"
import { paint } from "../rows/paint.js"
import { parseRow } from "../rows/row.js"
import { PER_LOG } from "./search.js"

/** @typedef {import("../address.js").Place} Place */
/** @typedef {import("../format.js").Workload} Workload */
/** @typedef {{ element: HTMLElement, rows: HTMLElement, title: HTMLAnchorElement, status: HTMLElement, meta: HTMLElement, all: HTMLAnchorElement, count: number, last: number }} Group */

export class Results {
  /** By the id of the workload. @type {Map<string, Group>} */
  #groups = new Map()
  /** Lines that match. */
  count = 0

  /** @param {Place} place That of the search. */
  constructor(place) {
    this.place = place
    this.element = make("div", { class: "results" })
    // A click beside the number leads there, too, unless it ends a selection.
    this.element.addEventListener("click", (event) => {
      const target = /** @type {Element} */ (event.target)
      const row = target.closest(".row")
      if (row && !target.closest("a") && getSelection()?.isCollapsed) row.querySelector("a")?.click()
    })
  }

  get logs() {
    return this.#groups.size
  }

  /** The rows that match. */
  get matching() {
    return /** @type {NodeListOf<HTMLElement>} */ (this.element.querySelectorAll(".row:not(.context)"))
  }

  /**
   * Show lines, in the order in which the service sends them.
   *
   * @param {any[]} lines
   * @param {(id: string) => void} opened Told of each log whose first line this is.
   */
  add(lines, opened) {
    for (const line of lines) {
      let group = this.#groups.get(line.workload)
      if (!group) {
        group = this.#open(line.workload)
        opened(line.workload)
      }
      // Another attempt at an answer that was cut brings its lines again.
      if (line.seq <= group.last) continue
      if (group.last && line.seq !== group.last + 1) group.rows.append(make("div", { class: "between", "aria-hidden": "true" }, "⋯"))
      group.last = line.seq
      group.rows.append(this.#row(line))
      if (line.context) continue
      this.count += 1
      group.count += 1
      setText(group.all, group.count < PER_LOG ? `${grouped(group.count)} ${group.count === 1 ? "match" : "matches"}` : "All matches of this log")
    }
  }

  /** @param {Workload} workload */
  name(workload) {
    const group = this.#groups.get(workload.id)
    if (!group) return
    group.element.setAttribute("aria-label", nameOf(workload))
    group.status.replaceChildren(icon(workload.status, workload.status))
    setText(group.title, nameOf(workload))
    const since = age((Date.now() - Date.parse(workload.created_at)) / 1000)
    setText(group.meta, `${workload.status.replace("_", " ")} · ${since}`)
  }

  /** @param {string} id @returns {Group} */
  #open(id) {
    const status = make("span", { class: "status" })
    const title = make("a", { href: this.#address(id, false) }, id)
    const meta = make("span", { class: "meta" })
    const all = make("a", { class: "all", href: this.#address(id, true) })
    const rows = make("div", { class: "log" })
    const head = make("header", { class: "head" }, status, make("h2", {}, title), meta, make("span", { class: "grow" }), all)
    const element = make("section", { class: "found", "aria-label": id }, head, rows)
    const group = { element, rows, title, status, meta, all, count: 0, last: 0 }
    this.#groups.set(id, group)
    this.element.append(element)
    return group
  }

  /** @param {any} line */
  #row({ workload, seq, stream, text, context }) {
    const row = make(
      "div",
      { class: context ? "row context" : "row" },
      make("a", { class: "number", href: this.#address(workload, false, seq), "aria-label": `Line ${grouped(seq)}` }, grouped(seq)),
      make("span", { class: "text" }, ...paint(parseRow(text).runs)),
    )
    row.dataset.line = String(seq)
    row.dataset.stream = stream
    return row
  }

  /** @param {string} id @param {boolean} only @param {number} [line] */
  #address(id, only, line) {
    const target = line ? { id: "", from: line, to: line } : undefined
    return formatAddress({ ...this.place, page: "log", ids: [id], isMerged: false, only, target })
  }
}
