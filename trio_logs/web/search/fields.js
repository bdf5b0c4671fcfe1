/** The fields of a search over all logs. */

import { make } from "../element.js"
import { icon } from "../icons.js"
import { isPressed, press } from "../log/tools.js"

/** @typedef {import("../address.js").Place} Place */
/** @typedef {Pick<Place, "find" | "matchCase" | "isRegex" | "stream" | "labels" | "statuses">} Query */

/** Milliseconds after the last key. */
const TYPING = 300

/** @type {[value: string, name: string][]} */
const STREAMS = [
  ["", "All streams"],
  ["stdout", "stdout"],
  ["stderr", "stderr"],
  ["system", "system"],
]
/** @type {[value: string, name: string][]} Values are statuses. */
const STATUSES = [
  ["", "Any status"],
  ["running", "Running"],
  ["failed,timed_out,lost", "Failed"],
  ["succeeded", "Succeeded"],
  ["stopped", "Stopped"],
  ["queued", "Queued"],
]

export class Fields {
  #timer = /** @type {ReturnType<typeof setTimeout> | undefined} */ (undefined)

  /** @param {(query: Query) => void} changed */
  constructor(changed) {
    this.changed = changed
    this.input = make("input", { type: "search", "aria-label": "Search all logs", placeholder: "Search the lines of all logs", spellcheck: "false", autocomplete: "off", oninput: () => this.#typed() })
    this.matches = make("span", { role: "status", "aria-label": "Matches", class: "count" })
    this.matchCase = this.#toggle("Match case", "Aa")
    this.isRegex = this.#toggle("Regular expression", ".*")
    this.stream = this.#choice("Stream", STREAMS)
    this.status = this.#choice("Status", STATUSES)
    this.labels = make("input", { "aria-label": "Labels", placeholder: "Labels, as in team=web", spellcheck: "false", autocomplete: "off", class: "labels", oninput: () => this.#typed() })
    this.element = make(
      "form",
      { class: "tools", role: "search", "aria-label": "All logs", onsubmit: (/** @type {Event} */ event) => this.#submit(event) },
      make("div", { class: "find" }, icon("find"), this.input, this.matches, this.matchCase, this.isRegex),
      this.stream,
      this.status,
      this.labels,
    )
  }

  /** @param {Place} place */
  show(place) {
    if (document.activeElement !== this.input) this.input.value = place.find
    if (document.activeElement !== this.labels) this.labels.value = place.labels.join(" ")
    press(this.matchCase, place.matchCase)
    press(this.isRegex, place.isRegex)
    this.stream.value = place.stream
    this.status.value = place.statuses.join()
    // An address may name statuses that no choice has.
    if (this.status.selectedIndex < 0) {
      const words = place.statuses.join(", ").replaceAll("_", " ")
      this.status.append(make("option", { value: place.statuses.join() }, words))
      this.status.value = place.statuses.join()
    }
  }

  #typed() {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#tell(), TYPING)
  }

  /** @param {Event} event */
  #submit(event) {
    event.preventDefault()
    this.#tell()
  }

  #tell() {
    clearTimeout(this.#timer)
    this.changed({
      find: this.input.value,
      matchCase: isPressed(this.matchCase),
      isRegex: isPressed(this.isRegex),
      stream: this.stream.value,
      statuses: this.status.value.split(",").filter(Boolean),
      labels: this.labels.value.split(/\s+/).filter((label) => label.indexOf("=") > 0),
    })
  }

  /** @param {string} name @param {string} content */
  #toggle(name, content) {
    const element = make("button", { type: "button", class: "option", "aria-label": name, title: name, onclick: () => (press(element, !isPressed(element)), this.#tell()) }, content)
    press(element, false)
    return element
  }

  /** @param {string} name @param {[value: string, name: string][]} choices */
  #choice(name, choices) {
    return make("select", { "aria-label": name, class: "button edge", onchange: () => this.#tell() }, ...choices.map(([value, words]) => make("option", { value }, words)))
  }
}
