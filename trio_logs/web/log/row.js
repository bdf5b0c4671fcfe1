/** The element of one row of a log. */

import { make } from "../element.js"
import { grouped, outcome } from "../format.js"
import { icon } from "../icons.js"
import { parseRow } from "../rows/row.js"
import { paint } from "../rows/paint.js"
import { timeOf } from "./times.js"

/** @typedef {import("./model.js").Entry} Entry */

/**
 * What the look of rows depends on.
 *
 * @typedef {object} Look
 * @property {import("./times.js").Times} times
 * @property {number} start The start of the workload, in milliseconds since 1970.
 * @property {[number, number] | undefined} target The lines that the address points at.
 * @property {import("../format.js").Workload | undefined} workload
 * @property {boolean} isDeleted Whether the workload is gone from the service.
 * @property {string} prefix Of the ids, where several logs show.
 */

/** @type {Record<string, string>} */
const GAPS = {
  retention: "removed to make room",
  store: "the store had failed when they came",
  damaged: "they can't be read",
  deleted: "the workload was deleted",
}

/**
 * @param {Entry} entry
 * @param {import("./lines.js").Lines} lines
 * @param {Look} look
 */
export function buildRow(entry, lines, look) {
  switch (entry.kind) {
    case "line":
      return lineRow(entry, lines, look)
    case "gap": {
      const row = framed("row gap", "", "", gapWords(entry))
      row.dataset.gap = `${entry.from}-${entry.to}`
      return row
    }
    case "reset":
      return framed("row gap", "", "", `The service lost lines that had shown here: ${entry.detail}`)
    case "waiting":
      return framed("row end", "", "", waiting(entry.stream, look.workload))
    case "unfinished": {
      const row = framed("row unfinished", "", "", ...paint(parseRow(entry.text).runs), make("span", { class: "caret" }))
      row.dataset.unfinished = ""
      row.dataset.stream = entry.stream
      return row
    }
    case "end": {
      const status = look.workload?.status ?? ""
      const words = look.workload ? outcome(look.workload, Date.now()) : "ended"
      if (look.isDeleted) return framed("row gap", "", "", "The workload was deleted, and its log with it")
      return framed("row end", "", "", icon(status, status), ` ${words}`)
    }
  }
}

/** Why there is no line. @param {string} stream All if empty. @param {import("../format.js").Workload | undefined} workload */
function waiting(stream, workload) {
  const isQueued = workload?.status === "queued"
  if (isQueued) return "Queued: it starts once other workloads have made room"
  return `No line${stream && ` of ${stream}`}${workload?.finished_at ? "" : " yet"}`
}

/** Which lines are missing, and why. @param {{ from: number, to: number, reason: string }} gap */
export function gapWords({ from, to, reason }) {
  const which = from === to ? `Line ${grouped(from)} is` : `Lines ${grouped(from)} – ${grouped(to)} are`
  return `${which} missing: ${GAPS[reason] ?? reason}`
}

/**
 * @param {Extract<Entry, { kind: "line" }>} entry
 * @param {import("./lines.js").Lines} lines
 * @param {Look} look
 */
function lineRow({ number, line }, lines, look) {
  // Among matches, the number is known once the line is there.
  if (!number) return framed("row loading", "", "")
  const time = line ? timeOf(line.time, look.times, look.start) : ""
  const content = line ? paint(lines.rowOf(line).runs) : []
  const row = framed("row", grouped(number), time, ...content)
  row.id = `${look.prefix}L${number}`
  row.dataset.line = String(number)
  if (line) row.dataset.stream = line.stream
  else row.classList.add("loading")
  const { target } = look
  if (target && target[0] <= number && number <= target[1]) row.classList.add("target")
  row.querySelector(".number")?.setAttribute("href", `#${row.id}`)
  return row
}

/**
 * @param {string} name
 * @param {string} number
 * @param {string} time
 * @param {...(Node | string)} content
 */
function framed(name, number, time, ...content) {
  return make(
    "div",
    { class: name },
    number ? make("a", { class: "number", tabindex: "-1", draggable: "false" }, number) : make("span", { class: "number" }),
    make("span", { class: "time" }, time),
    make("span", { class: "text" }, ...content),
  )
}
