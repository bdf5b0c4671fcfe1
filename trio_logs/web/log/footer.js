/** The line below a log: how much there is of it, and how fast it grows. */

import { make, setText } from "../element.js"
import { grouped, outcome, size } from "../format.js"
import { zone } from "./times.js"

/** Milliseconds that the rate is an average of. */
const WINDOW = 5000

export class Footer {
  /** @type {{ time: number, head: number }[]} */
  #seen = []

  /** @param {() => void} openKeys */
  constructor(openKeys) {
    this.state = make("span", { class: "unseen outcome" })
    this.amount = make("span", {})
    this.rate = make("span", {})
    this.found = make("span", {})
    this.zone = make("span", { class: "wide" })
    this.element = make(
      "footer",
      {},
      make("span", { role: "status", "aria-label": "Log", class: "numbers" }, this.state, this.amount, this.rate, this.found),
      make("span", { class: "grow" }),
      this.zone,
      make("button", { type: "button", class: "plain wide", onclick: openKeys }, make("kbd", {}, "?"), " keys"),
    )
  }

  /**
   * @param {import("../format.js").Workload | undefined} workload
   * @param {number} head The number of the last line.
   * @param {import("./finder.js").Finder} finder
   * @param {import("./times.js").Times} times
   */
  show(workload, head, finder, times) {
    const now = performance.now()
    this.#seen = [...this.#seen.filter(({ time }) => now - time < WINDOW), { time: now, head }]
    const first = this.#seen[0]
    const seconds = first ? (now - first.time) / 1000 : 0
    const rate = first && seconds >= 0.9 ? Math.round((head - first.head) / seconds) : 0
    const isRunning = workload?.status === "running"
    setText(this.state, workload ? outcome(workload, Date.now()) : "")
    const bytes = workload?.bytes && !isRunning ? ` · ${size(workload.bytes)}` : ""
    setText(this.amount, `${grouped(head)} ${head === 1 ? "line" : "lines"}${bytes}`)
    setText(this.rate, isRunning ? `${grouped(rate)} ${rate === 1 ? "line" : "lines"}/s` : "")
    const { query, isSearching, count, took } = finder
    const matches = `${grouped(count)} ${count === 1 ? "match" : "matches"}`
    setText(this.found, query && !isSearching ? `${matches}, searched in ${(took / 1000).toFixed(1)} s` : "")
    setText(this.zone, times === "local" ? zone(new Date().getTimezoneOffset()) : times === "utc" ? "UTC" : "")
  }
}
