/** The page that searches all logs. */

import { make, setText } from "../element.js"
import { grouped } from "../format.js"
import { highlight } from "../log/highlights.js"
import { Fields } from "./fields.js"
import { Results } from "./results.js"
import { parametersOf, Search } from "./search.js"

/** @typedef {import("../address.js").Place} Place */
/** @typedef {import("../format.js").Workload} Workload */

const NDJSON = { Accept: "application/x-ndjson" }

export class SearchPage {
  // No log shows, so a choice in the list opens one.
  isSplit = false
  /** @type {string[]} */
  ids = []
  activeId = ""
  /** The parameters of what shows. */
  #asked = ""
  #abort = new AbortController()
  /** Records of workloads that the list does not have: one request at a time. */
  #records = Promise.resolve()
  #frame = 0

  /**
   * @param {Place} place
   * @param {import("../several/panes.js").Frame} frame
   */
  constructor(place, frame) {
    this.place = place
    this.frame = frame
    const read = (/** @type {string} */ path, /** @type {AbortSignal} */ signal) => frame.session.send(path, { signal, headers: NDJSON })
    this.search = new Search(read, (lines) => this.results.add(lines, (id) => this.#name(id)), () => this.#changed())
    this.fields = new Fields((query) => frame.go(query))
    this.results = new Results(place)
    this.more = make("button", { type: "button", class: "button edge", onclick: () => this.search.more() })
    this.words = make("p", { class: "words" })
    this.body = make("div", { class: "search-body", tabindex: "-1" }, this.results.element, this.words, this.more)
    this.element = make("section", { class: "view search-page", "aria-label": "Search" }, make("h1", { class: "unseen" }, "Search all logs"), this.fields.element, this.body)
  }

  open() {
    this.show(this.place)
  }

  close() {
    this.#abort.abort()
    this.search.close()
    cancelAnimationFrame(this.#frame)
    highlight(this, [], undefined)
  }

  /** @param {Place} place */
  suits({ page }) {
    return page === "search"
  }

  /** @param {Place} place */
  show(place) {
    this.place = place
    document.title = place.find ? `${place.find} · search` : "Search"
    this.fields.show(place)
    const parameters = place.find ? parametersOf(place) : ""
    if (parameters && parameters === this.#asked) return
    this.#asked = parameters
    this.results.element.remove()
    this.results = new Results(place)
    this.body.prepend(this.results.element)
    this.body.scrollTop = 0
    this.search.start(parameters)
  }

  focus() {
    this.fields.input.focus()
  }

  /** @param {Workload} workload */
  hear(workload) {
    this.results.name(workload)
  }

  /** @param {string} id */
  chosen(id) {
    return [id]
  }

  /** @param {string} id */
  instead(id) {
    return [id]
  }

  /** @returns {import("../keys.js").Key[]} */
  keys() {
    const { input } = this.fields
    return [
      [["/", "Ctrl-F"], "search", () => input.select()],
      [["m"], "more matches", () => !this.more.hidden && this.search.more()],
    ]
  }

  /** Name a log by its record. @param {string} id */
  #name(id) {
    const known = this.frame.known(id)
    if (known) return this.results.name(known)
    const { signal } = this.#abort
    const fetched = async () => {
      if (signal.aborted) return
      const workload = await this.frame.session.fetchJSON(`/v1/workloads/${id}`, { signal }).catch(() => undefined)
      if (workload) this.results.name(workload)
    }
    this.#records = this.#records.then(fetched)
  }

  #changed() {
    const { isSearching, isRefused, lines, next, error } = this.search
    const { find } = this.place
    const { count, logs } = this.results
    const found = `${grouped(count)}${next ? "+" : ""} ${count === 1 ? "match" : "matches"} in ${grouped(logs)} ${logs === 1 ? "log" : "logs"}`
    const searched = lines ? `, ${grouped(lines)} lines` : ""
    const isFailed = !isSearching && Boolean(error)
    const status = !find || isFailed ? "" : isSearching ? `searching${count ? `, ${grouped(count)}` : searched}` : count ? found : "no match"
    setText(this.fields.matches, status)
    this.fields.matches.classList.toggle("bad", status === "no match")
    const hint = find ? "" : "Type what to look for. The newest workloads come first."
    const none = find && !isSearching && !count ? "No line of any log matches. Fewer words or other filters may." : ""
    setText(this.words, isFailed ? error : isSearching ? `Searching${searched} …` : hint || none)
    this.words.classList.toggle("bad", isFailed)
    if (isFailed) this.words.setAttribute("role", "alert")
    else this.words.removeAttribute("role")
    this.more.hidden = isSearching || isRefused || !(next || isFailed)
    setText(this.more, isFailed ? "Try again" : "More")
    // Marks are made once a frame, however many pieces come in it.
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0
      const { matchCase, isRegex, stream } = this.place
      highlight(this, this.results.matching, find ? { find, matchCase, isRegex, stream } : undefined)
    })
  }
}
