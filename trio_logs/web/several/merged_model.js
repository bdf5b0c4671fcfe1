/** The rows of several logs as one: lines by the time of their arrival, gaps and ends; sans-IO. */

import { Lines } from "../log/lines.js"

/** @typedef {import("../wire/log_news.js").Line} Line */

/**
 * `key` is `ID:L5` for a line, which is its address, too.
 *
 * @typedef {{ kind: "line", id: string, key: string, time: string, line: Line }
 *   | { kind: "gap", id: string, key: string, time: string, from: number, to: number, reason: string }
 *   | { kind: "end", id: string, key: string, time: string, isGone: boolean }
 *   | { kind: "start", id: string, key: string, time: string, before: number }} Row
 */

/**
 * What the tab has of a log. `first` and `head` are the numbers of its first and its last line; `lines` knows the
 * colours that go on from line to line.
 *
 * @typedef {{ first: number, head: number, hasEnded: boolean, lines: Lines }} Log
 */

/** Rows and characters that a tab keeps; above them, the oldest rows go. */
export const MOST_ROWS = 20_000
const MOST_CHARACTERS = 8_000_000
/** Rows that a line may still come before, when logs arrive in turns. */
const LOOK_BACK = 1000

export class MergedModel {
  /** By id, in the order of the address. @type {Map<string, Log>} */
  logs = new Map()
  /** @type {Row[]} */
  rows = []
  /** Differs when rows have come or gone. */
  version = 0
  /** By the key of the row. @type {Map<string, number>} */
  #places = new Map()
  #characters = 0

  /** @param {string[]} ids */
  constructor(ids) {
    for (const id of ids) this.logs.set(id, unread())
  }

  /** Whether the tab has as much as it keeps. */
  get isFull() {
    return this.rows.length > MOST_ROWS || this.#characters > MOST_CHARACTERS
  }

  /** Numbers of lines between the first and the last one of each log. */
  get lines() {
    return [...this.logs.values()].reduce((sum, { first, head }) => sum + Math.max(0, head - first + 1), 0)
  }

  get hasEnded() {
    return [...this.logs.values()].every(({ hasEnded }) => hasEnded)
  }

  /** The logs of which the tab lacks earlier lines. */
  get cut() {
    return [...this.logs].filter(([, { first }]) => first > 1).map(([id]) => id)
  }

  /** Whether there is such a log. The list asks for each row, so this makes no array. */
  get isCut() {
    for (const { first } of this.logs.values()) if (first > 1) return true
    return false
  }

  /** The place of a row, or -1. @param {string} key */
  indexOf(key) {
    return this.#places.get(key) ?? -1
  }

  /** Start anew, with nothing. */
  clear() {
    this.rows = []
    this.#characters = 0
    for (const log of this.logs.values()) Object.assign(log, unread())
    this.#number(0)
  }

  /**
   * Take in what follows the last lines of the logs, in order.
   *
   * @param {any[]} objects Those of `GET /v1/logs`.
   */
  append(objects) {
    for (const { event, workload } of objects) if (event === "reset") this.#remove(workload)
    const added = this.#rowsOf(objects, this.rows.at(-1)?.time ?? "")
    const [first] = added
    if (!first) return
    let place = this.rows.length
    const ids = new Set(added.map(({ id }) => id))
    while (place > Math.max(0, this.rows.length - LOOK_BACK)) {
      const before = this.rows[place - 1]
      if (!before || before.time <= first.time || ids.has(before.id)) break
      place -= 1
    }
    this.rows.push(...merged(this.rows.splice(place), added))
    this.#number(place)
  }

  /**
   * Take in lines of one log that come before all that the tab has of it.
   *
   * @param {string} id
   * @param {any[]} objects Those of `GET /v1/workloads/{id}/logs`.
   */
  prepend(id, objects) {
    const log = this.logs.get(id)
    if (!log) return
    const { head, first } = log
    log.head = 0
    const before = objects.filter((each) => (each.seq ?? each.to ?? Infinity) < first)
    const earlier = this.#rowsOf(before.map((each) => ({ ...each, workload: id })), "")
    log.head = head
    // What is before the first line that was asked for is not there any more.
    if (!earlier.length) log.first = 1
    const rows = this.rows.filter(({ kind, id: other }) => kind !== "start" || other !== id)
    const own = rows.findIndex((row) => row.id === id)
    const place = own < 0 ? rows.length : own
    this.#renew([...merged(rows.slice(0, place), earlier), ...rows.slice(place)])
  }

  /** Say at the start of each log what the tab lacks before it. */
  markStarts() {
    this.#renew(this.rows)
  }

  /** Let the oldest rows go if there are too many. Whether any went. */
  trim() {
    if (!this.isFull) return false
    let place = 0
    let characters = this.#characters
    while (place < this.rows.length - MOST_ROWS * 0.8 || characters > MOST_CHARACTERS * 0.8) {
      const row = this.rows[place]
      if (!row) break
      const log = this.logs.get(row.id)
      if (row.kind === "line") characters -= row.line.text.length
      if (log && row.kind === "line") log.first = row.line.seq + 1
      if (log && row.kind === "gap") log.first = row.to + 1
      place += 1
    }
    this.#renew(this.rows.slice(place))
    return true
  }

  /** @param {any[]} objects @param {string} time That of the row before. */
  #rowsOf(objects, time) {
    /** @type {Row[]} */
    const rows = []
    for (const each of objects) {
      const log = this.logs.get(each.workload)
      const row = log && this.#rowOf(each, log, rows.at(-1)?.time ?? time)
      if (row) rows.push(row)
    }
    return rows
  }

  /** @param {any} object @param {Log} log @param {string} time Of what has no time itself. @returns {Row | undefined} */
  #rowOf(object, log, time) {
    const { workload: id, seq, event } = object
    if (seq !== undefined) {
      // A stream that resumes may repeat lines.
      if (seq <= log.head) return undefined
      this.#reach(log, seq, seq)
      this.#characters += object.text.length
      log.lines.put(object)
      return { kind: "line", id, key: `${id}:L${seq}`, time: object.time, line: object }
    }
    if (event === "gap" && object.to > log.head) {
      this.#reach(log, object.from, object.to)
      return { kind: "gap", id, key: `${id}:G${object.to}`, time, from: object.from, to: object.to, reason: object.reason }
    }
    if ((event !== "end" && event !== "gone") || log.hasEnded) return undefined
    log.hasEnded = true
    return { kind: "end", id, key: `${id}:end`, time, isGone: event === "gone" }
  }

  /** @param {Log} log @param {number} from @param {number} to */
  #reach(log, from, to) {
    log.first = log.head ? log.first : from
    log.head = to
  }

  /** @param {string} id */
  #remove(id) {
    Object.assign(this.logs.get(id) ?? {}, unread())
    this.#renew(this.rows.filter((row) => row.id !== id))
  }

  /** @param {Row[]} rows */
  #renew(rows) {
    /** @type {Set<string>} */
    const begun = new Set()
    /** @type {Row[]} */
    const renewed = []
    this.#characters = 0
    for (const row of rows) {
      if (row.kind === "start") continue
      const before = (this.logs.get(row.id)?.first ?? 1) - 1
      // At the very top, "earlier lines" says the same.
      if (before && !begun.has(row.id) && renewed.length) renewed.push({ kind: "start", id: row.id, key: `${row.id}:start`, time: row.time, before })
      begun.add(row.id)
      renewed.push(row)
      if (row.kind === "line") this.#characters += row.line.text.length
    }
    this.rows = renewed
    this.#number(0)
  }

  /** Number the rows from this place on. @param {number} place */
  #number(place) {
    if (place === 0) this.#places = new Map()
    for (let index = place; index < this.rows.length; index += 1) this.#places.set(this.rows[index]?.key ?? "", index)
    this.version += 1
  }
}

/** @returns {Log} */
const unread = () => ({ first: 1, head: 0, hasEnded: false, lines: new Lines() })

/**
 * Two runs of rows as one, by time. Each keeps its order, also where its times do not rise.
 *
 * @param {Row[]} one First where times are equal.
 * @param {Row[]} other
 */
function merged(one, other) {
  const rows = []
  let [place, latest] = [0, ""]
  for (const row of other) {
    latest = row.time > latest ? row.time : latest
    for (let next = one[place]; next && next.time <= latest; next = one[(place += 1)]) rows.push(next)
    rows.push(row)
  }
  return [...rows, ...one.slice(place)]
}
