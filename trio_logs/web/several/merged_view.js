/** Several logs as one, live: each line with the name of its log in a colour of its own. */

import { formatAddress, withLogs } from "../address.js"
import { say } from "../ask.js"
import { make, setText } from "../element.js"
import { grouped, nameOf } from "../format.js"
import { Follow } from "../log/follow.js"
import { laterOf } from "../log/header.js"
import { keysOf } from "../log/log_keys.js"
import { press, Tools } from "../log/tools.js"
import { VirtualList } from "../scroll/list.js"
import { Bar } from "./bar.js"
import { EarlierLines } from "./earlier_lines.js"
import { copyMerged } from "./merged_copy.js"
import { MergedFeed } from "./merged_feed.js"
import { MergedFound } from "./merged_found.js"
import { MergedHead } from "./merged_head.js"
import { MergedModel } from "./merged_model.js"
import { MergedRows } from "./merged_rows.js"
import { namesOf } from "./names.js"

/** @typedef {import("../address.js").Place} Place */
/** @typedef {import("../format.js").Workload} Workload */

/** Characters of a name that show. */
const LONGEST = 18
const NDJSON = { Accept: "application/x-ndjson" }

export class MergedView {
  isSplit = true
  /** None of the logs is the one that actions are for. @type {Workload | undefined} */
  workload = undefined
  #abort = new AbortController()
  #timer = 0

  /**
   * @param {Place} place
   * @param {import("./panes.js").Frame} frame
   */
  constructor(place, frame) {
    this.place = place
    this.frame = frame
    this.ids = [...new Set(place.ids)]
    this.activeId = this.ids[0] ?? ""
    const { go, openKeys } = frame
    const read = (/** @type {string} */ path, /** @type {AbortSignal} */ signal) => frame.session.send(path, { signal, headers: NDJSON })
    this.model = new MergedModel(this.ids)
    this.feed = new MergedFeed(this.model, read, {
      changed: () => this.#grew(),
      isAtEnd: () => this.list.isFollowing,
      mayGrow: () => this.list.isFollowing || !this.model.isFull,
      fail: (error) => this.#fail(error),
    })
    this.earlier = new EarlierLines(this)
    this.rows = new MergedRows(this.model, this.earlier.element)
    this.scroller = make("div", { class: "log merged", role: "log", "aria-live": "off", "aria-label": "Log", tabindex: "0" })
    this.body = make("div", { class: "log-body" }, this.scroller)
    this.list = new VirtualList(this.scroller, this.rows, {
      follow: (isFollowing) => {
        this.follow.restart()
        if (isFollowing) this.feed.catchUp()
      },
      rendered: () => this.found.mark(),
    })
    this.tools = new Tools({
      find: (query) => go({ ...query, only: query.find ? this.place.only : false }),
      step: (step) => this.found.step(step),
      only: (only) => go({ only }),
      times: (times) => go({ times }),
      wrap: (wrap) => go({ wrap }),
      follow: (isOn) => this.list.follow(isOn),
      leave: () => this.focus(),
    })
    press(this.tools.split, true)
    this.tools.split.addEventListener("click", () => go(withLogs(this.place, this.ids.slice(0, 1)), true))
    this.follow = new Follow(this.list, this.feed, this.tools)
    this.found = new MergedFound(this, read)
    this.body.append(this.found.canvas, this.follow.button)
    this.head = new MergedHead(this.ids, (id) => go(withLogs(this.place, this.ids.filter((each) => each !== id)), true))
    this.numbers = make("span", { role: "status", "aria-label": "Log", class: "numbers" })
    this.bar = new Bar({ isMerged: true, merge: (isMerged) => go({ isMerged }, true), openKeys }, this.numbers)
    this.element = make("section", { class: "view", "aria-label": "Merged logs" }, this.head.element, this.tools.element, this.body, this.bar.element)
    // What the keys of one log are for.
    this.surroundings = { ...frame, actions: { stop: () => {}, rerun: () => {} } }
    copyMerged(this.scroller, this.list, this.rows, this.#abort.signal)
    this.scroller.addEventListener("click", (event) => this.#clicked(event))
    for (const id of this.ids) this.#know(frame.known(id))
    this.show(place)
  }

  /** Fetch what shows, and follow it. */
  async open() {
    const { session, connection, known } = this.frame
    const { signal } = this.#abort
    try {
      await Promise.all([...this.ids.filter((id) => !known(id)).map((id) => this.#record(id)), this.feed.open()])
    } catch (error) {
      if (!signal.aborted) this.#fail(error)
      return
    }
    if (signal.aborted) return
    if (!this.#reveal(this.place.target)) this.list.follow(true)
    this.list.render()
    for (const [id, log] of this.model.logs) {
      if (!log.hasEnded) connection.follow(session.key, id, () => log.head, (news) => this.#hear(news))
    }
    this.#timer = window.setInterval(() => this.#tick(), 1000)
    this.found.search(this.place)
  }

  close() {
    this.#abort.abort()
    clearInterval(this.#timer)
    for (const id of this.ids) this.frame.connection.drop(id)
    this.feed.close()
    this.list.close()
    this.found.close()
  }

  /** Whether this view can show a place, or a new one must. @param {Place} place */
  suits(place) {
    return place.isMerged && place.ids.join() === this.place.ids.join()
  }

  /** @param {Place} place */
  show(place) {
    const before = this.place
    this.place = place
    Object.assign(this.rows.look, { times: place.times, target: place.target })
    this.scroller.dataset.times = place.times
    this.tools.show(place)
    if (place.wrap !== this.list.isWrapped) this.list.wrap(place.wrap)
    if (place !== before) {
      this.found.search(place)
      if (JSON.stringify(place.target) !== JSON.stringify(before.target)) this.#reveal(place.target)
    }
    this.list.refresh()
  }

  /** The record of a workload has changed. @param {Workload} workload */
  hear(workload) {
    if (this.ids.includes(workload.id)) this.#know(workload)
  }

  focus() {
    this.scroller.focus({ preventScroll: true })
  }

  /** The logs that show once somebody has chosen this one in the list. @param {string} id */
  chosen(id) {
    return this.ids.includes(id) ? this.ids.filter((each) => each !== id) : [...this.ids, id]
  }

  /** The logs that show after `[` or `]`. @param {string} id */
  instead(id) {
    return [id]
  }

  /** @returns {import("../keys.js").Key[]} */
  keys() {
    const link = () => location.origin + formatAddress({ ...this.place, target: this.place.target ?? this.#top() })
    // These are about one log.
    const isOfOne = (/** @type {import("../keys.js").Key} */ [[name]]) => [":", "s", "r"].includes(name ?? "")
    return keysOf(this, () => {}, link).filter((key) => !isOfOne(key))
  }

  /** The line at the top, unless that is the end. @returns {Place["target"]} */
  #top() {
    const row = this.list.isFollowing ? undefined : this.rows.rowAt(this.list.visible().first)
    return row?.kind === "line" ? { id: row.id, from: row.line.seq, to: row.line.seq } : undefined
  }

  /** Whether the line is here. @param {Place["target"]} target */
  #reveal(target) {
    if (!target) return false
    const index = this.rows.indexOf(`${target.id}:L${target.from}`)
    if (index >= 0) this.list.reveal(index)
    else say("The line of this address is further up. Its log alone shows it.")
    return index >= 0
  }

  /** Fetch the record of a workload. @param {string} id */
  async #record(id) {
    const { signal } = this.#abort
    const workload = await this.frame.session.fetchJSON(`/v1/workloads/${id}`, { signal }).catch(() => undefined)
    if (!signal.aborted) this.#know(workload)
  }

  /** @param {Workload | undefined} workload */
  #know(workload) {
    if (!workload) return
    const { look } = this.rows
    look.workloads.set(workload.id, laterOf(look.workloads.get(workload.id), workload))
    const known = this.ids.map((id) => look.workloads.get(id))
    look.names = namesOf(this.ids.map((id, place) => ({ id, name: known[place] ? nameOf(known[place]) : id })))
    look.start = Math.min(...known.flatMap((each) => (each ? [Date.parse(each.started_at ?? each.created_at)] : [])))
    const names = [...look.names.values()].map(({ name }) => name)
    const longest = Math.max(...names.map(({ length }) => length))
    this.scroller.setAttribute("aria-label", `Log of ${names.join(", ")}`)
    this.scroller.style.setProperty("--number", `${Math.min(longest, LONGEST) + 3}ch`)
    this.head.show(look.names, look.workloads)
    this.bar.show(known)
    const [first] = known
    if (first) this.frame.entitle(first, this.ids.length - 1)
    this.list.refresh()
  }

  /** @param {import("../wire/log_news.js").News} news */
  #hear(news) {
    this.rows.setUnfinished(news.id, news.unfinished)
    this.feed.hear(news)
    if (!news.events.some(({ event }) => event === "end" || event === "gone")) return
    this.frame.connection.drop(news.id)
    this.#record(news.id)
  }

  /** The rows have changed. */
  #grew() {
    this.follow.grew()
    this.list.refresh()
    this.#count()
  }

  #tick() {
    this.#count()
    this.found.grew()
  }

  #count() {
    const { query, isSearching, count, took } = this.found.finder
    const found = query && !isSearching ? ` · ${grouped(count)} ${count === 1 ? "match" : "matches"}, searched in ${(took / 1000).toFixed(1)} s` : ""
    setText(this.numbers, `${grouped(this.model.lines)} of ${grouped(this.feed.head)} lines${found}`)
    this.bar.show(this.ids.map((id) => this.rows.look.workloads.get(id)))
  }

  /** @param {MouseEvent} event */
  #clicked(event) {
    const row = /** @type {Element} */ (event.target).closest?.("a.number")?.parentElement
    const [id, line] = [row?.dataset.log, Number(row?.dataset.line)]
    if (!id || !line || event.ctrlKey || event.metaKey) return
    event.preventDefault()
    this.frame.go({ target: { id, from: line, to: line }, only: false }, true)
  }

  /** @param {unknown} error */
  #fail(error) {
    const words = error instanceof Error ? error.message : String(error)
    this.body.replaceChildren(make("p", { class: "empty", role: "alert" }, words))
  }
}
