/** How the lines look that begin and end sections: as a title with a button, and as nothing. */

import { make, setText } from "../element.js"
import { duration, grouped } from "../format.js"
import { icon } from "../icons.js"
import { paint, textOf } from "../rows/paint.js"
import { withoutMarks } from "./section_marks.js"

/** @typedef {import("./sections.js").Section} Section */

/**
 * Show a line that has marks without them.
 *
 * @param {HTMLElement} row As it is for any line.
 * @param {import("./lines.js").Line} line
 * @param {import("./model.js").LogModel} model
 * @param {boolean} canFold Whether the title is a button.
 */
export function dressMarks(row, line, { sections, lines }, canFold) {
  const marks = sections.marksAt(line.seq)
  const isTitle = Boolean(sections.at(line.seq))
  // A mark that begins nothing is a line of a diff.
  if (!marks || (!isTitle && marks.some(({ isStart }) => isStart))) return
  const { runs } = lines.rowOfPart(line, withoutMarks(line.text, marks))
  const text = row.querySelector(".text")
  if (!isTitle) {
    text?.replaceChildren(...paint(runs))
    return
  }
  const name = textOf(runs).trim() || marks.findLast(({ isStart, family }) => isStart && family === "gitlab")?.name || "Section"
  const title = textOf(runs).trim() ? paint(runs, false) : [name]
  row.classList.add("section")
  const content = canFold ? make("button", { type: "button", class: "fold", "aria-expanded": "true" }, icon("fold"), make("span", {}, ...title)) : make("span", {}, ...title)
  text?.replaceChildren(content)
  row.append(make("span", { class: "extent" }))
}

/**
 * Say whether a section is open, and how much it has.
 *
 * @param {HTMLElement} row
 * @param {Section} section
 * @param {boolean} isClosed
 * @param {number} head The number of the last line.
 */
export function showExtent(row, { from, lines, time, until }, isClosed, head) {
  const button = row.querySelector("button.fold")
  const state = String(!isClosed)
  if (button && button.getAttribute("aria-expanded") !== state) button.setAttribute("aria-expanded", state)
  const count = lines === Infinity ? head - from : lines
  const seconds = (until - time) / 1000
  const took = seconds >= 0.05 ? ` · ${duration(seconds)}` : ""
  const extent = row.querySelector(".extent")
  if (extent) setText(extent, button ? `${grouped(count)} ${count === 1 ? "line" : "lines"}${took}` : "")
}
