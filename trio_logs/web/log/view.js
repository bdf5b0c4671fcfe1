/** One log: its rows, live, with all that can be done to look at them. */

import { make } from "../element.js"
import { nameOf } from "../format.js"
import { Folds } from "./folds.js"
import { Follow } from "./follow.js"
import { Found } from "./found.js"
import { Footer } from "./footer.js"
import { Header, isFinal, laterOf } from "./header.js"
import { linkLines } from "./line_links.js"
import { Live } from "./live.js"
import { Loader } from "./loader.js"
import { LogModel } from "./model.js"
import { objectsOf } from "../wire/ndjson.js"
import { Problem } from "../wire/request.js"
import { LogRows } from "./log_rows.js"
import { copyRows } from "./selection.js"
import { StreamChoice } from "./stream_choice.js"
import { Tools } from "./tools.js"
import { VirtualList } from "../scroll/list.js"

/** @typedef {import("../address.js").Place} Place */
/** @typedef {import("../format.js").Workload} Workload */

/**
 * @typedef {object} Surroundings What a view needs of the page.
 * @property {import("../session.js").Session} session
 * @property {import("../wire/connection.js").Connection} connection
 * @property {(changes: Partial<Place>, isStep?: boolean) => void} go Changes the address.
 * @property {import("./header.js").Actions} actions
 * @property {() => void} openKeys
 * @property {(workload: Workload) => void} changed
 */

/** Lines at the end with which a log opens. */
const TAIL = 200
const NDJSON = { Accept: "application/x-ndjson" }

export class LogView {
  /** @type {Workload | undefined} */
  workload = undefined
  model = new LogModel()
  live = new Live(this)
  #abort = new AbortController()
  #timer = 0

  /**
   * @param {string} id
   * @param {Place} place
   * @param {Surroundings} surroundings
   */
  constructor(id, place, surroundings) {
    this.id = id
    this.place = place
    this.surroundings = surroundings
    const { go, actions, openKeys } = surroundings
    const read = (/** @type {string} */ path, /** @type {AbortSignal} */ signal) => this.#read(path, signal)
    this.scroller = make("div", { class: "log", role: "log", "aria-live": "off", "aria-label": "Log", tabindex: "0" })
    this.body = make("div", { class: "log-body" }, this.scroller)
    this.rows = new LogRows(this.model, (from, to) => this.rows.look.isDeleted || this.loader.want(from, to))
    this.loader = new Loader(this.model, (range, signal) => read(`logs?follow=false&${range}`, signal), () => this.list.refresh(), (error) => isMissing(error) && this.setDeleted())
    this.list = new VirtualList(this.scroller, this.rows, {
      follow: () => this.follow.restart(),
      rendered: () => {
        this.folds.mark()
        this.found.mark()
      },
    })
    this.header = new Header(actions)
    this.tools = new Tools({
      find: (query) => this.#find(query),
      step: (step) => this.found.step(step),
      only: (only) => go({ only }),
      times: (times) => go({ times }),
      stream: (stream) => go({ stream }),
      wrap: (wrap) => go({ wrap }),
      follow: (isOn) => this.list.follow(isOn),
      leave: () => this.scroller.focus({ preventScroll: true }),
    })
    this.footer = new Footer(openKeys)
    this.follow = new Follow(this.list, this.rows, this.tools)
    this.found = new Found(this, read)
    this.folds = new Folds(this, read)
    this.streams = new StreamChoice(this, read)
    this.body.append(this.found.canvas, this.follow.button)
    this.element = make("section", { class: "view" }, this.header.element, this.tools.element, this.body, this.footer.element)
    copyRows(this.scroller, this.list, this.model, (from, to) => this.#fetchRange(from, to), (from, to) => this.rows.showsIn(from, to), this.#abort.signal)
    linkLines(this.scroller, () => this.#targetIn(this.place)?.from, (from, to) => go({ target: { id: this.#targetId, from, to }, only: false }, true))
    this.show(place)
  }

  /** Fetch the first rows and follow. */
  async open() {
    const { signal } = this.#abort
    const target = this.#targetIn(this.place)
    const range = target ? `from=${Math.max(1, target.from - 100)}&limit=${TAIL + 100}` : `tail=${TAIL}`
    try {
      const record = this.surroundings.session.fetchJSON(`/v1/workloads/${this.id}`, { signal })
      record.catch(() => {})
      const answer = await this.#read(`logs?follow=false&${range}`, signal)
      this.model.head = Number(answer.headers.get("Log-Lines"))
      if (answer.body) for await (const objects of objectsOf(answer.body)) this.model.take(objects)
      this.setWorkload(await record)
      await this.streams.show(this.place.stream)
    } catch (error) {
      if (!signal.aborted) this.#fail(error)
      return
    }
    if (target) this.#reveal(target)
    else this.list.follow(true)
    this.list.render()
    this.follow.restart()
    this.#timer = window.setInterval(() => this.#tick(), 1000)
    if (!this.model.hasEnded) this.live.open()
    this.found.search(this.place)
    this.folds.grew()
  }

  close() {
    this.#abort.abort()
    clearInterval(this.#timer)
    this.live.close()
    this.loader.close()
    this.list.close()
    this.found.close()
    this.folds.close()
    this.streams.close()
  }

  /** Show what the address says. @param {Place} place */
  show(place) {
    const before = this.place
    this.place = place
    const target = this.#targetIn(place)
    this.rows.look.times = place.times
    this.rows.look.prefix = place.ids.length > 1 ? `${this.id}:` : ""
    this.rows.look.target = target && [target.from, target.to]
    this.scroller.dataset.times = place.times
    this.tools.show(place)
    if (place.wrap !== this.list.isWrapped) this.list.wrap(place.wrap)
    if (place !== before && this.workload) {
      this.found.search(place)
      this.streams.show(place.stream)
      if (target && JSON.stringify(target) !== JSON.stringify(this.#targetIn(before))) this.#reveal(target)
    }
    this.list.refresh()
  }

  /** @param {Workload} workload */
  setWorkload(workload) {
    this.workload = workload = laterOf(this.workload, workload)
    const { look } = this.rows
    look.workload = workload
    look.start = Date.parse(workload.started_at ?? workload.created_at)
    if (isFinal(workload)) {
      this.model.head = Math.max(this.model.head, workload.lines)
      this.model.hasEnded = true
    }
    this.header.show(workload, this.surroundings.session.isReadOnly)
    this.scroller.setAttribute("aria-label", `Log of ${nameOf(workload)}`)
    this.element.setAttribute("aria-label", nameOf(workload))
    this.surroundings.changed(workload)
    this.#tick()
    this.grew()
  }

  /** Go to a line, as an address or a person says. @param {number} line */
  goTo(line) {
    const from = Math.min(Math.max(1, line), Math.max(1, this.model.head))
    this.surroundings.go({ target: { id: this.#targetId, from, to: from } }, true)
  }

  /** The first line that is wholly in view. */
  get topLine() {
    return this.rows.lineAt(this.list.visible().firstWhole)
  }

  /** The lines of this log that the address points at. @param {Place} place */
  #targetIn({ target, ids }) {
    return target && (target.id || ids[0]) === this.id ? { ...target, id: "" } : undefined
  }

  /** As the address has it where several logs show. */
  get #targetId() {
    return this.rows.look.prefix && this.id
  }

  /** @param {{ from: number }} target */
  #reveal(target) {
    this.list.reveal(this.rows.reach(target.from))
  }

  /** @param {{ find: string, matchCase: boolean, isRegex: boolean }} query */
  #find(query) {
    this.surroundings.go({ ...query, only: query.find ? this.place.only : false })
  }

  /** Lines have come, or what else is below them. */
  grew() {
    this.streams.grew()
    this.follow.grew()
    this.list.refresh()
    this.#count()
  }

  /** The workload is gone: what shows stays. */
  setDeleted() {
    this.rows.look.isDeleted = true
    this.model.hasEnded = true
    this.header.lose()
    this.grew()
  }

  #tick() {
    if (this.workload) this.header.show(this.workload, this.surroundings.session.isReadOnly)
    this.#count()
    this.found.grew()
    this.folds.grew()
    this.streams.grew()
  }

  #count() {
    this.footer.show(this.workload, this.model.head, this.found.finder, this.place.times)
  }

  /** @param {number} from @param {number} to */
  async #fetchRange(from, to) {
    const answer = await this.#read(`logs?follow=false&from=${from}&to=${to}`, this.#abort.signal)
    const found = []
    if (answer.body) for await (const objects of objectsOf(answer.body)) found.push(...objects.filter((each) => each.seq))
    return found
  }

  /** @param {string} path @param {AbortSignal} signal */
  #read(path, signal) {
    return this.surroundings.session.send(`/v1/workloads/${this.id}/${path}`, { signal, headers: NDJSON })
  }

  /** @param {unknown} error */
  #fail(error) {
    if (isMissing(error)) this.header.lose()
    const words = isMissing(error) ? `There is no workload ${this.id}; it may have been deleted.` : String(error instanceof Error ? error.message : error)
    this.body.replaceChildren(make("p", { class: "empty", role: "alert" }, words))
  }
}

/** Whether the service knows no such workload. @param {unknown} error */
const isMissing = (error) => error instanceof Problem && error.status === 404
