/** The list of workloads: search, filters, and a link for each. */

import { make, setText } from "../element.js"
import { grouped } from "../format.js"
import { icon } from "../icons.js"
import { press } from "../log/tools.js"
import { CHANGES } from "../wire/change_news.js"
import { Problem } from "../wire/request.js"
import { Pages } from "./pages.js"
import { countsOf, FILTERS, parametersOf } from "./query.js"
import { Rows } from "./row.js"

/** @typedef {import("../format.js").Workload} Workload */

/** Milliseconds. */
const TYPING = 200
const PAUSE = 800
const CLOCK = 1000
/** Workloads in a page. */
const PAGE = 100

export class WorkloadList {
  #pages = new Pages()
  #filter = 0
  #abort = new AbortController()
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer = undefined
  #isClosed = false
  /** @type {string[]} */
  #current = []
  /** The parameters of what shows. */
  #asked = ""
  #position = "0"
  #running = 0
  #isFollowing = false
  #isLoading = false
  #refreshed = 0
  #clock = setInterval(() => this.#draw(), CLOCK)
  /** Whether there is no workload at all. */
  isEmpty = false

  /**
   * @param {import("../session.js").Session} session
   * @param {import("../wire/connection.js").Connection} connection
   * @param {(isEmpty: boolean) => void} listed
   * @param {(workload: Workload) => void} changed
   * @param {(id: string) => void} deleted
   */
  constructor(session, connection, listed, changed, deleted) {
    this.session = session
    this.connection = connection
    this.listed = listed
    this.changed = changed
    this.deleted = deleted
    this.input = make("input", { type: "search", "aria-label": "Search workloads", placeholder: "Search workloads, or label:team=web", spellcheck: "false", autocomplete: "off", oninput: () => this.#typed() })
    this.filters = FILTERS.map(([name], place) => {
      const count = make("span", { class: "count" })
      const element = make("button", { type: "button", class: "button", onclick: () => this.#pick(place) }, `${name} `, count)
      press(element, place === 0)
      return { element, count }
    })
    this.rows = new Rows()
    this.items = this.rows.element
    this.items.addEventListener("scroll", () => this.#scrolled(), { passive: true })
    this.words = make("p", { class: "words", hidden: true })
    this.allLogs = make("a", { class: "button icon-only all-logs", href: "/search", "aria-label": "Search all logs", title: "Search the lines of all logs" }, icon("find"))
    this.element = make(
      "div",
      { class: "sidebar" },
      make(
        "nav",
        { "aria-label": "Workloads" },
        make("div", { class: "search" }, this.input),
        make("div", { class: "filters" }, ...this.filters.map(({ element }) => element)),
        this.words,
        this.items,
      ),
      // Links in the navigation are workloads.
      this.allLogs,
    )
  }

  close() {
    this.#isClosed = true
    this.connection.drop(CHANGES)
    clearInterval(this.#clock)
    clearTimeout(this.#timer)
    this.#abort.abort()
  }

  get workloads() {
    return this.#pages.workloads
  }

  /** @param {string[]} ids Of the logs that show. */
  select(ids) {
    this.#current = ids
    this.#draw()
  }

  /** The workload next to another. @param {1 | -1} step @param {string} [id] */
  async beside(step, id) {
    const place = this.workloads.findIndex((workload) => workload.id === id)
    if (place < 0) return this.workloads[0]
    if (place + step >= this.workloads.length) await this.#more()
    return this.workloads[place + step]
  }

  /** The newest running workload, or the newest of all. */
  async newest() {
    const running = this.workloads.find(({ status }) => status === "running")
    if (running || !this.#running) return running ?? this.workloads[0]
    const page = await this.session.fetchJSON("/v1/workloads?status=running&limit=1").catch(() => undefined)
    return /** @type {Workload | undefined} */ (page?.workloads[0]) ?? this.workloads[0]
  }

  /** Fetch the first page anew. */
  async refresh() {
    clearTimeout(this.#timer)
    this.#refreshed = Date.now()
    this.#abort.abort()
    this.#abort = new AbortController()
    const { signal } = this.#abort
    const query = String(this.#query())
    try {
      const page = await this.session.fetchJSON(`/v1/workloads?${query}&counts=true`, { signal })
      if (signal.aborted) return
      if (query !== this.#asked) this.#pages.clear()
      this.#asked = query
      this.#pages.refresh(page)
      this.#position = page.position
      this.#running = page.counts.running
      for (const [place, count] of countsOf(page.counts).entries()) setText(this.filters[place]?.count ?? this.items, grouped(count))
      this.#draw()
      const isAll = !this.input.value && this.#filter === 0
      this.isEmpty = isAll && !this.workloads.length
      this.#say(isAll || this.workloads.length ? "" : "No workload matches.")
      this.listed(this.isEmpty)
      this.#follow()
    } catch (error) {
      if (signal.aborted) return
      // The state of the connection tells of one that is broken; what the service refuses, it refuses again.
      if (error instanceof Problem && error.status < 500) this.#say(error.message)
      else this.#soon(PAUSE)
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
      // A log that shows may not be on the page that the position is of.
      if (change.event === "workload") this.changed(change)
      if (change.event === "deleted") this.deleted(change.id)
      if (change.position !== undefined && Number(change.position) <= Number(this.#position)) continue
      this.#pages.change(change, this.#statuses)
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
    this.#soon(TYPING)
  }

  get #statuses() {
    return FILTERS[this.#filter]?.[1] ?? []
  }

  #query() {
    return parametersOf(this.input.value, this.#statuses, PAGE)
  }

  #scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.items
    if (scrollTop + 2 * clientHeight >= scrollHeight) this.#more()
  }

  /** Fetch the next page. */
  async #more() {
    const { next } = this.#pages
    if (!next || this.#isLoading) return
    this.#isLoading = true
    const query = this.#asked
    try {
      const page = await this.session.fetchJSON(`/v1/workloads?${query}&before=${next}`)
      // The first page may have changed meanwhile, or the search.
      if (this.#pages.next === next && query === this.#asked) this.#pages.add(page)
      this.#draw()
    } catch {} // Scrolling tries again.
    this.#isLoading = false
    // One page may be shorter than the view.
    if (this.#pages.next !== next) this.#scrolled()
  }

  /** @param {number} place */
  #pick(place) {
    this.#filter = place
    for (const [each, { element }] of this.filters.entries()) press(element, each === place)
    this.refresh()
  }

  /** @param {string} words */
  #say(words) {
    this.words.hidden = !words
    setText(this.words, words)
  }

  #draw() {
    this.rows.show(this.workloads, this.#current)
  }
}
