/** The bar above a log: find, and how its rows look. */

import { make, setText } from "../element.js"
import { grouped } from "../format.js"
import { icon } from "../icons.js"
import { Menu } from "../menu.js"
import { TIMES } from "./times.js"

/**
 * @typedef {object} Changes
 * @property {(query: { find: string, matchCase: boolean, isRegex: boolean }) => void} find
 * @property {(step: 1 | -1) => void} step
 * @property {(only: boolean) => void} only
 * @property {(times: import("./times.js").Times) => void} times
 * @property {(stream: string) => void} [stream] Empty for all; where there is no choice, it is left out.
 * @property {(wrap: boolean) => void} wrap
 * @property {(follow: boolean) => void} follow
 * @property {() => void} leave Back to the log.
 */

/** @type {[string, string][]} */
const STREAMS = [
  ["", "All"],
  ["stdout", "stdout"],
  ["stderr", "stderr"],
  ["system", "The service's own"],
]

/** Milliseconds after the last key. */
const TYPING = 180

export class Tools {
  #timer = /** @type {ReturnType<typeof setTimeout> | undefined} */ (undefined)

  /** @param {Changes} changes */
  constructor(changes) {
    this.changes = changes
    this.input = make("input", {
      type: "search",
      "aria-label": "Find in log",
      spellcheck: "false",
      autocomplete: "off",
      oninput: () => this.#typed(),
      onkeydown: (event) => this.#key(event),
    })
    this.hint = make("kbd", { "aria-hidden": "true" }, "/")
    this.matches = make("span", { role: "status", "aria-label": "Matches", class: "count" })
    this.previous = this.#option("Previous match", () => changes.step(-1), icon("previous"))
    this.next = this.#option("Next match", () => changes.step(1), icon("next"))
    this.previous.hidden = this.next.hidden = true
    this.matchCase = this.#toggle("Match case", () => this.#changed(), "Aa")
    this.isRegex = this.#toggle("Regular expression", () => this.#changed(), ".*")
    this.only = this.#switch("Matches only", "funnel", (isOn) => changes.only(isOn), "button icon-only")
    this.only.disabled = true
    this.wrap = this.#switch("Wrap", "wrap", (isOn) => changes.wrap(isOn))
    this.follow = this.#switch("Follow", "down", (isOn) => changes.follow(isOn))
    this.split = this.#switch("Split", "split", () => {}, "button wide")
    this.times = new Menu("Times", "times", TIMES, (times) => changes.times(/** @type {import("./times.js").Times} */ (times)))
    this.streams = new Menu("Streams", "streams", STREAMS, (stream) => changes.stream?.(stream))
    this.streams.element.hidden = !changes.stream
    this.element = make(
      "div",
      { class: "tools" },
      make("div", { class: "find", role: "search" }, icon("find"), this.input, this.matches, this.previous, this.next, this.hint, this.matchCase, this.isRegex),
      this.only,
      this.streams.element,
      make("span", { class: "grow" }),
      this.split,
      this.times.element,
      this.wrap,
      this.follow,
    )
  }

  /** @param {import("../address.js").Place} place */
  show(place) {
    if (document.activeElement !== this.input) this.input.value = place.find
    const states = /** @type {[HTMLElement, boolean][]} */ ([
      [this.matchCase, place.matchCase],
      [this.isRegex, place.isRegex],
      [this.only, place.only],
      [this.wrap, place.wrap],
    ])
    for (const [element, isOn] of states) press(element, isOn)
    this.times.show(place.times, place.times !== "none")
    this.streams.show(place.stream, Boolean(place.stream))
    // The button says which one, and is as wide for all.
    setText(this.streams.label, place.stream || "Streams")
  }

  /** @param {boolean} isFollowing */
  showFollow(isFollowing) {
    press(this.follow, isFollowing)
  }

  /**
   * @param {Pick<import("./finder.js").Finder, "query" | "count" | "error" | "isSearching" | "searched">} finder
   * @param {number} ordinal Of the current match, or 0.
   * @param {number} head
   */
  showMatches(finder, ordinal, head) {
    const { query, count, error, isSearching, searched } = finder
    this.hint.hidden = Boolean(query) || document.activeElement === this.input
    this.previous.hidden = this.next.hidden = !query
    this.previous.disabled = this.next.disabled = !count
    this.only.disabled = !query
    let text = ""
    if (query && error) text = error
    else if (query && isSearching && !count) text = `searching, ${head ? Math.floor((100 * searched) / head) : 0} %`
    else if (query && !count) text = "no match"
    else if (query) text = `${ordinal ? `${grouped(ordinal)} of ` : ""}${grouped(count)}${ordinal ? "" : count === 1 ? " match" : " matches"}`
    this.matches.classList.toggle("bad", Boolean(query) && (Boolean(error) || (!count && !isSearching)))
    this.matches.title = error
    setText(this.matches, text)
  }

  #typed() {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#changed(), TYPING)
  }

  #changed() {
    clearTimeout(this.#timer)
    this.changes.find({ find: this.input.value, matchCase: isPressed(this.matchCase), isRegex: isPressed(this.isRegex) })
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key === "Enter") {
      event.preventDefault()
      this.#changed()
      this.changes.step(event.shiftKey ? -1 : 1)
    } else if (event.key === "Escape") {
      event.preventDefault()
      this.#changed()
      this.changes.leave()
    }
  }

  /** @param {string} name @param {() => void} act @param {Node | string} content */
  #option(name, act, content) {
    return make("button", { type: "button", class: "option", "aria-label": name, title: name, onclick: act }, content)
  }

  /** @param {string} name @param {() => void} act @param {string} content */
  #toggle(name, act, content) {
    const element = this.#option(name, () => {
      press(element, !isPressed(element))
      act()
    }, content)
    press(element, false)
    return element
  }

  /** @param {string} name @param {string} shape @param {(isOn: boolean) => void} act */
  #switch(name, shape, act, kind = "button") {
    const label = make("span", {}, kind.includes("icon-only") ? "" : name)
    const element = make("button", { type: "button", class: kind, "aria-label": name, title: name, onclick: () => act(!isPressed(element)) }, icon(shape), label)
    press(element, false)
    return element
  }
}

/** @param {HTMLElement} element @param {boolean} isOn */
export function press(element, isOn) {
  element.setAttribute("aria-pressed", String(isOn))
}

/** @param {HTMLElement} element */
export const isPressed = (element) => element.getAttribute("aria-pressed") === "true"
