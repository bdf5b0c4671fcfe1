/** The list of workloads: search, filters, and a link for each. */

import { make, setText } from "../element.js"
import { age, clock, grouped, lasted, nameOf } from "../format.js"
import { icon } from "../icons.js"
import { press } from "../log/tools.js"

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
const REFRESH = 2000
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

  /**
   * @param {import("../session.js").Session} session
   * @param {(isEmpty: boolean) => void} listed
   */
  constructor(session, listed) {
    this.session = session
    this.listed = listed
    this.input = make("input", { type: "search", "aria-label": "Search workloads", placeholder: "Search workloads, or label:team=web", spellcheck: "false", autocomplete: "off", oninput: () => this.#soon(TYPING) })
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
    document.addEventListener("visibilitychange", () => this.#soon(0))
  }

  close() {
    this.#isClosed = true
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
      this.#count(page.counts)
      this.#draw()
      this.listed(!this.workloads.length && !this.input.value && this.#filter === 0)
    } catch {
      // The next attempt comes soon; the state of the connection tells.
    }
    this.#soon(REFRESH)
  }

  /** @param {number} milliseconds */
  #soon(milliseconds) {
    clearTimeout(this.#timer)
    if (this.#isClosed || (document.hidden && milliseconds)) return
    if (milliseconds === TYPING) this.#next = null
    this.#timer = setTimeout(() => this.refresh(), milliseconds)
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
        fill(row.element, workload, { time, since, isCurrent })
      }
      if (row.element === place) place = place.nextElementSibling
      else this.items.insertBefore(row.element, place)
    }
  }
}

/** @param {string} word */
const isLabel = (word) => /^label:.+=/.test(word)

/**
 * @param {HTMLElement} element
 * @param {Workload} workload
 * @param {{ time: string, since: string, isCurrent: boolean }} shown
 */
function fill(element, workload, { time, since, isCurrent }) {
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
