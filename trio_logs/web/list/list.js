/** The list of workloads: search, filters, and a link for each. */

import { make, setText } from "../element.js"
import { age, clock, grouped, lasted } from "../format.js"
import { press } from "../log/tools.js"
import { CHANGES } from "../wire/change_news.js"
import { fillRow } from "./row.js"

/** @typedef {import("../format.js").Workload} Workload */

/** @type {[name: string, statuses: string[]][]} */
const FILTERS = [
  ["All", []],
  ["Running", ["running"]],
  ["Failed", ["failed", "timed_out", "lost"]],
  ["Queued", ["queued"]],
]
const ALL = ["queued", "running", "succeeded", "failed", "stopped", "timed_out", "lost"]
/** Milliseconds. */
const TYPING = 200
const PAUSE = 800
const CLOCK = 1000
const PAGE = 100

export class WorkloadList {
  /** In the order of the list. @type {Workload[]} */
  workloads = []
  /** @type {string | null} */
  #next = null
  #filter = 0
  #abort = new AbortController()
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer = undefined
  #isClosed = false
  /** @type {string[]} */
  #current = []
  /** @type {Map<string, { element: HTMLElement, stamp: string }>} */
  #rows = new Map()

  #position = "0"
  #isFollowing = false
  #refreshed = 0
  #clock = setInterval(() => this.#draw(), CLOCK)

  /**
   * @param {import("../session.js").Session} session
   * @param {import("../wire/connection.js").Connection} connection
   * @param {(isEmpty: boolean) => void} listed
   * @param {(workload: Workload) => void} changed
   */
  constructor(session, connection, listed, changed) {
    this.session = session
    this.connection = connection
    this.listed = listed
    this.changed = changed
    this.input = make("input", { type: "search", "aria-label": "Search workloads", placeholder: "Search workloads, or label:team=web", spellcheck: "false", autocomplete: "off", oninput: () => this.#typed() })
    this.filters = FILTERS.map(([name], place) => {
      const count = make("span", { class: "count" })
      const element = make("button", { type: "button", class: "button", onclick: () => this.#pick(place) }, `${name} `, count)
      press(element, place === 0)
      return { element, count }
    })
    this.items = make("ul", {})
    this.items.addEventListener("scroll", () => this.#scrolled(), { passive: true })
    this.element = make(
      "nav",
      { "aria-label": "Workloads" },
      make("div", { class: "search" }, this.input),
      make("div", { class: "filters" }, ...this.filters.map(({ element }) => element)),
      this.items,
    )
  }

  close() {
    this.#isClosed = true
    this.connection.drop(CHANGES)
    clearInterval(this.#clock)
    clearTimeout(this.#timer)
    this.#abort.abort()
  }

  /** @param {string[]} ids Of the logs that show. */
  select(ids) {
    this.#current = ids
    this.#draw()
  }

  /** The workload next to the current one. @param {1 | -1} step */
  beside(step) {
    const place = this.workloads.findIndex(({ id }) => id === this.#current[0])
    return this.workloads[place < 0 ? 0 : place + step]
  }

  /** Fetch the first page anew. */
  async refresh() {
    clearTimeout(this.#timer)
    this.#refreshed = Date.now()
    this.#abort.abort()
    this.#abort = new AbortController()
    const { signal } = this.#abort
    try {
      const page = await this.session.fetchJSON(`/v1/workloads?${this.#query()}&counts=true`, { signal })
      if (signal.aborted) return
      // Pages that were fetched by scrolling stay, below the first one.
      const ids = new Set(page.workloads.map((/** @type {Workload} */ { id }) => id))
      const last = page.workloads.at(-1)?.id
      const older = page.next && this.#next !== null ? this.workloads.filter(({ id }) => !ids.has(id) && id < last) : []
      this.workloads = [...page.workloads, ...older]
      this.#next = older.length ? this.#next : page.next
      this.#position = page.position
      this.#count(page.counts)
      this.#draw()
      this.listed(!this.workloads.length && !this.input.value && this.#filter === 0)
      this.#follow()
    } catch {
      // The state of the connection tells.
      if (!signal.aborted) this.#soon(PAUSE)
    }
  }

  #follow() {
    if (this.#isFollowing || this.#isClosed) return
    this.#isFollowing = true
    this.connection.follow(this.session.key, CHANGES, () => this.#position, (news) => this.#hear(news))
  }

  /** @param {import("../wire/change_news.js").Changes} news */
  #hear({ changes, isStale }) {
    let isOther = isStale
    for (const change of changes) {
      if (change.position !== undefined && Number(change.position) <= Number(this.#position)) continue
      const known = this.workloads.find(({ id }) => id === change.id)
      if (known && change.event !== "deleted") Object.assign(known, change)
      if (change.event === "workload") this.changed(change)
      // Its place, and the counts, are the service's to say.
      isOther ||= change.event !== "progress"
    }
    this.#draw()
    if (isOther) this.#soon(Math.max(0, this.#refreshed + PAUSE - Date.now()))
  }

  /** List again after a pause. @param {number} milliseconds */
  #soon(milliseconds) {
    clearTimeout(this.#timer)
    if (this.#isClosed) return
    this.#timer = setTimeout(() => this.refresh(), milliseconds)
  }

  #typed() {
    this.#next = null
    this.#soon(TYPING)
  }

  #query() {
    const query = new URLSearchParams({ limit: String(PAGE) })
    const words = this.input.value.split(/\s+/).filter(Boolean)
    for (const word of words.filter(isLabel)) query.append("label", word.slice("label:".length))
    const search = words.filter((word) => !isLabel(word)).join(" ")
    if (search) query.set("search", search)
    for (const status of FILTERS[this.#filter]?.[1] ?? []) query.append("status", status)
    return query
  }

  async #scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.items
    if (!this.#next || scrollTop + 2 * clientHeight < scrollHeight) return
    const before = this.#next
    this.#next = null
    try {
      const page = await this.session.fetchJSON(`/v1/workloads?${this.#query()}&before=${before}`)
      const known = new Set(this.workloads.map(({ id }) => id))
      this.workloads = [...this.workloads, ...page.workloads.filter((/** @type {Workload} */ { id }) => !known.has(id))]
      this.#next = page.next
      this.#draw()
    } catch {
      this.#next = before
    }
  }

  /** @param {number} place */
  #pick(place) {
    this.#filter = place
    this.#next = null
    for (const [each, { element }] of this.filters.entries()) press(element, each === place)
    this.refresh()
  }

  /** @param {Record<string, number>} counts */
  #count(counts) {
    for (const [place, { count }] of this.filters.entries()) {
      const statuses = FILTERS[place]?.[1].length ? FILTERS[place][1] : ALL
      setText(count, grouped(statuses.reduce((sum, status) => sum + (counts[status] ?? 0), 0)))
    }
  }

  #draw() {
    const now = Date.now()
    /** @type {Element | null} */
    let place = this.items.firstElementChild
    const kept = new Set(this.workloads.map(({ id }) => id))
    for (const [id, { element }] of this.#rows) {
      if (kept.has(id)) continue
      if (element === place) place = element.nextElementSibling
      element.remove()
      this.#rows.delete(id)
    }
    for (const workload of this.workloads) {
      const time = clock(lasted(workload, now))
      const since = age((now - Date.parse(workload.created_at)) / 1000)
      const isCurrent = this.#current.includes(workload.id)
      const stamp = [workload.status, time, since, isCurrent].join()
      let row = this.#rows.get(workload.id)
      if (!row) {
        row = { element: make("li", {}), stamp: "" }
        this.#rows.set(workload.id, row)
      }
      if (row.stamp !== stamp) {
        row.stamp = stamp
        fillRow(row.element, workload, { time, since, isCurrent })
      }
      if (row.element === place) place = place.nextElementSibling
      else this.items.insertBefore(row.element, place)
    }
  }
}

/** @param {string} word */
const isLabel = (word) => /^label:.+=/.test(word)
