/** The keys of a log. */

import { copy } from "../actions.js"
import { ROW } from "../scroll/mounted_rows.js"
import { isFinal } from "./header.js"
import { TIMES } from "./times.js"

/**
 * @param {Pick<import("./view.js").LogView, "list" | "tools" | "scroller" | "place" | "workload"> & {
 *   found: { step: (step: 1 | -1) => unknown },
 *   folds?: { toggleHere: () => void, toggleAll: () => void },
 *   surroundings: Pick<import("./view.js").Surroundings, "go"> & { actions: Pick<import("./header.js").Actions, "stop" | "rerun"> } }} view
 * @param {() => void} askForLine
 * @param {() => string} link The address of the line at the top.
 * @returns {import("../keys.js").Key[]}
 */
export function keysOf(view, askForLine, link) {
  const { list, tools, found, surroundings, scroller } = view
  const page = () => Math.max(ROW, scroller.clientHeight - 2 * ROW)
  const by = (/** @type {number} */ pixels) => () => list.scrollBy(pixels)
  const find = () => {
    tools.input.focus()
    tools.input.select()
  }
  const place = TIMES.findIndex(([times]) => times === view.place.times)
  const times = TIMES[(place + 1) % TIMES.length]?.[0] ?? "local"
  return [
    [["/"], "find", find],
    [["Ctrl-F"], "find; once more, the browser's own", find],
    [["n"], "next match", () => found.step(1)],
    [["N"], "previous match", () => found.step(-1)],
    [["j", "ArrowDown"], "a line down", by(ROW)],
    [["k", "ArrowUp"], "a line up", by(-ROW)],
    [["Space", "PageDown"], "a page down", () => list.scrollBy(page())],
    [["Shift-Space", "PageUp"], "a page up", () => list.scrollBy(-page())],
    [["g", "Home"], "the first line", () => list.reveal(0, { always: true, part: 0 })],
    [["G", "End"], "the last line", () => list.follow(true)],
    [[":", "Ctrl-G"], "go to a line", askForLine],
    [["f"], "follow", () => list.follow(!list.isFollowing)],
    [["w"], "wrap", () => surroundings.go({ wrap: !view.place.wrap })],
    [["t"], "times", () => surroundings.go({ times })],
    [["m"], "matches only", () => view.place.find && surroundings.go({ only: !view.place.only })],
    ...foldKeys(view.folds),
    [["y"], "copy a link to the line", () => copy(link())],
    [["s"], "stop", () => view.workload && !isFinal(view.workload) && surroundings.actions.stop()],
    [["r"], "run again", () => view.workload && isFinal(view.workload) && surroundings.actions.rerun()],
  ]
}

/** @param {{ toggleHere: () => void, toggleAll: () => void } | undefined} folds @returns {import("../keys.js").Key[]} */
function foldKeys(folds) {
  if (!folds) return []
  return [
    [["z"], "close or open the section", () => folds.toggleHere()],
    [["Z"], "close or open all sections", () => folds.toggleAll()],
  ]
}
