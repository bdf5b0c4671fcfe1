/** The rows of several logs for the list, as elements. */

import { make } from "../element.js"
import { grouped, outcome } from "../format.js"
import { icon } from "../icons.js"
import { gapWords } from "../log/row.js"
import { timeOf } from "../log/times.js"
import { paint } from "../rows/paint.js"
import { parseRow } from "../rows/row.js"

/** @typedef {import("./merged_model.js").Row} Row */
/** @typedef {import("../format.js").Workload} Workload */
/** @typedef {{ id: string, stream: string, text: string }} Unfinished */

/**
 * @typedef {object} Look
 * @property {import("../log/times.js").Times} times
 * @property {number} start The start of the first workload, in milliseconds since 1970.
 * @property {import("../address.js").Place["target"]} target
 * @property {Map<string, { name: string, colour: number }>} names By id.
 * @property {Map<string, Workload>} workloads By id.
 */

/** The key of the row that fetches more. */
export const EARLIER = "earlier"

export class MergedRows {
  /** @type {Look} */
  look = { times: "local", start: 0, target: undefined, names: new Map(), workloads: new Map() }
  /** @type {Unfinished[]} */
  unfinished = []
  /** The keys of the rows that show while only matches do. @type {Set<string> | undefined} */
  only = undefined
  /** What `only` leaves of the rows. @type {{ only: Set<string> | undefined, of: string, rows: Row[], places: Map<string, number> }} */
  #kept = { only: undefined, of: "", rows: [], places: new Map() }

  /**
   * @param {import("./merged_model.js").MergedModel} model
   * @param {HTMLElement} earlier The first row, while there are earlier lines.
   */
  constructor(model, earlier) {
    this.model = model
    this.earlier = earlier
  }

  /** @param {string} id @param {Record<string, string>} texts By stream. */
  setUnfinished(id, texts) {
    const shown = Object.entries(texts).flatMap(([stream, text]) => (text ? [{ id, stream, text }] : []))
    this.unfinished = [...this.unfinished.filter((each) => each.id !== id), ...shown]
  }

  get rows() {
    return this.only ? this.#only().rows : this.model.rows
  }

  get count() {
    return this.#above + this.rows.length + this.#below.length
  }

  /** @param {number} index @returns {Row | undefined} */
  rowAt(index) {
    return this.rows[index - this.#above]
  }

  /** @param {number} index */
  keyOf(index) {
    if (index < this.#above) return EARLIER
    const unfinished = this.#below[index - this.#above - this.rows.length]
    return this.rowAt(index)?.key ?? `${unfinished?.id}:${unfinished?.stream}`
  }

  /** @param {string} key */
  indexOf(key) {
    if (key === EARLIER) return this.#above - 1
    const place = this.only ? (this.#only().places.get(key) ?? -1) : this.model.indexOf(key)
    if (place >= 0) return place + this.#above
    const below = this.#below.findIndex(({ id, stream }) => `${id}:${stream}` === key)
    return below < 0 ? -1 : this.#above + this.rows.length + below
  }

  /** @param {number} index */
  stampOf(index) {
    const row = this.rowAt(index)
    const { times, start, names, workloads } = this.look
    if (!row) return index < this.#above ? "" : (this.#below[index - this.#above - this.rows.length]?.text ?? "")
    const name = names.get(row.id)
    const state = row.kind === "end" ? workloads.get(row.id)?.status : row.kind === "start" ? row.before : this.#isTarget(row)
    return `${state} ${times} ${start} ${name?.colour} ${name?.name}`
  }

  /** @param {number} index */
  build(index) {
    if (index < this.#above) return this.earlier
    const row = this.rowAt(index)
    if (row) return this.#build(row)
    const { id, stream, text } = this.#below[index - this.#above - this.rows.length] ?? { id: "", stream: "", text: "" }
    const element = this.#framed("row unfinished", id, "", ...paint(parseRow(text).runs), make("span", { class: "caret" }))
    element.dataset.unfinished = ""
    element.dataset.stream = stream
    return element
  }

  /** All rows are here. */
  show() {}

  /** What a terminal shows of a row's text. @param {Extract<Row, { kind: "line" }>} row */
  parsed({ id, line }) {
    return this.model.logs.get(id)?.lines.rowOf(line) ?? parseRow(line.text)
  }

  get #above() {
    return this.model.isCut && !this.only ? 1 : 0
  }

  /** A filter of finished lines says nothing about those that have not ended. */
  get #below() {
    return this.only ? [] : this.unfinished
  }

  #only() {
    const { only } = this
    const of = `${this.model.version} ${only?.size}`
    if (this.#kept.only !== only || this.#kept.of !== of) {
      const rows = this.model.rows.filter(({ key }) => only?.has(key))
      this.#kept = { only, of, rows, places: new Map(rows.map(({ key }, place) => [key, place])) }
    }
    return this.#kept
  }

  /** @param {Row} row */
  #isTarget({ kind, id, key }) {
    const { target } = this.look
    const number = Number(key.slice(id.length + 2))
    return kind === "line" && target?.id === id && target.from <= number && number <= target.to
  }

  /** @param {Row} row */
  #build(row) {
    const { times, start, workloads } = this.look
    const { id } = row
    if (row.kind === "gap") return this.#framed("row gap", id, "", gapWords(row))
    if (row.kind === "start") return this.#framed("row start", id, "", `${grouped(row.before)} earlier ${row.before === 1 ? "line is" : "lines are"} not loaded`)
    if (row.kind === "end") {
      const workload = workloads.get(id)
      const words = row.isGone ? "deleted" : workload ? outcome(workload, Date.now()) : "ended"
      return this.#framed("row end", id, "", icon(workload?.status ?? "", workload?.status ?? ""), ` ${words}`)
    }
    const { line } = row
    const element = this.#framed("row", id, timeOf(line.time, times, start), ...paint(this.parsed(row).runs))
    element.id = row.key
    element.dataset.line = String(line.seq)
    const label = element.firstElementChild
    label?.setAttribute("href", `#${row.key}`)
    label?.setAttribute("title", `Line ${grouped(line.seq)}`)
    element.dataset.stream = line.stream
    element.classList.toggle("target", this.#isTarget(row))
    return element
  }

  /**
   * @param {string} kind
   * @param {string} id
   * @param {string} time
   * @param {...(Node | string)} content
   */
  #framed(kind, id, time, ...content) {
    const { name, colour } = this.look.names.get(id) ?? { name: id, colour: 0 }
    const label = make("a", { class: `number name n${colour}`, tabindex: "-1", draggable: "false" }, name)
    const element = make("div", { class: kind }, label, make("span", { class: "time" }, time), make("span", { class: "text" }, ...content))
    element.dataset.log = id
    return element
  }
}
