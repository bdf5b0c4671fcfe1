/** Selecting and copying rows, also those that are no elements. */

import { say } from "../ask.js"
import { grouped } from "../format.js"
import { parseRow } from "../rows/row.js"
import { textOf } from "../rows/paint.js"

/** Lines that a copy takes at most. */
const MOST_LINES = 100_000

/**
 * @param {HTMLElement} scroller
 * @param {import("../scroll/list.js").VirtualList} list
 * @param {import("./model.js").LogModel} model
 * @param {(from: number, to: number) => Promise<any[]>} fetchRange
 * @param {(from: number, to: number) => (line: import("./lines.js").Line) => boolean} showsIn Whether a line of a range is one of those that show.
 * @param {AbortSignal} signal Ends it.
 */
export function copyRows(scroller, list, model, fetchRange, showsIn, signal) {
  /** Lines that were fetched for the selection. @type {Map<number, any>} */
  let fetched = new Map()
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer
  let isFetching = false
  /** @type {HTMLElement | undefined} */
  let notice
  /** Selections so far: an answer may come after the next one. */
  let turns = 0

  /** The lines of a range that are neither in memory nor fetched. @param {number} from @param {number} to */
  const lacking = (from, to) => {
    const missing = model.missing(from, to)
    return missing && (fetched.has(missing[0]) && fetched.has(missing[1]) ? undefined : missing)
  }
  let isWhole = false
  const selectAll = () => getSelection()?.selectAllChildren(list.rows)
  /** All lines are selected, with rows or without: the selection ends in no row, but in what holds them. A click may end there, too. */
  const isAll = () => {
    const { anchorNode, focusNode, isCollapsed = true } = getSelection() ?? {}
    isWhole &&= !isCollapsed && anchorNode === list.rows && focusNode === list.rows
    return isWhole
  }

  const selected = () => {
    const selection = getSelection()
    if (selection && isAll()) return { selection, from: 1, to: model.head }
    const ends = [selection?.anchorNode, selection?.focusNode].map((node) => rowOf(node ?? null, scroller))
    const [one, other] = ends
    if (!selection || !one || !other) return undefined
    const [from, to] = [one, other].map((row) => Number(row.dataset.line)).sort((a, b) => a - b)
    return from && to ? { selection, from, to } : undefined
  }

  document.addEventListener("selectionchange", () => {
    // A click, too: Shift-click far below selects from there.
    const found = selected()
    list.pin(new Set(found && !isAll() ? [found.from, found.to].map((line) => `L${line}`) : []))
    clearTimeout(timer)
    const turn = (turns += 1)
    const missing = found && lacking(found.from, Math.min(found.to, found.from + MOST_LINES - 1))
    isFetching = Boolean(missing)
    if (!found) fetched = new Map()
    if (!missing) return
    // A copy can't wait for lines: have them once the selection is made.
    timer = setTimeout(async () => {
      const lines = await fetchRange(...missing).catch(() => [])
      if (turn !== turns) return
      fetched = new Map(lines.map((line) => [line.seq, line]))
      isFetching = false
    }, 100)
  }, { signal })

  scroller.addEventListener("keydown", (event) => {
    if (event.key !== "a" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return
    event.preventDefault()
    selectAll()
    isWhole = true
  })
  // Rows that come into view are selected, too.
  scroller.addEventListener("scroll", () => isAll() && requestAnimationFrame(() => isAll() && selectAll()))

  scroller.addEventListener("copy", (event) => {
    const found = selected()
    if (!found || (found.from === found.to && !model.sections.marksAt(found.from))) return
    if (isFetching) {
      event.preventDefault()
      notice = say("The lines are still on their way: copy again in a moment.")
      return
    }
    notice?.remove()
    const range = found.selection.getRangeAt(0)
    const shows = showsIn(found.from, found.to)
    const parts = []
    for (let number = found.from; number <= Math.min(found.to, found.from + MOST_LINES - 1); number += 1) {
      const line = model.lines.get(number) ?? fetched.get(number)
      if (line && shows(line)) parts.push(textOf((model.lines.get(number) ? model.lines.rowOf(line) : parseRow(line.text)).runs))
    }
    if (!parts.length) return
    const [first = "", last = ""] = [parts[0], parts.at(-1)]
    const start = placeIn(range.startContainer, range.startOffset, first) ?? 0
    parts[parts.length - 1] = last.slice(0, placeIn(range.endContainer, range.endOffset, last))
    parts[0] = (parts[0] ?? "").slice(start)
    event.clipboardData?.setData("text/plain", parts.join("\n"))
    event.preventDefault()
    if (found.to - found.from >= MOST_LINES) say(`The first ${grouped(MOST_LINES)} of these lines are copied: Download has all.`)
  })

  selectWhileScrolling(scroller, signal)
}

/**
 * While the browser scrolls for a drag, the row under the pointer is replaced by others: select up to them.
 *
 * @param {HTMLElement} scroller
 * @param {AbortSignal} signal Ends it.
 */
export function selectWhileScrolling(scroller, signal) {
  let pointer = { x: 0, y: 0, isDown: false }
  scroller.addEventListener("pointerdown", () => (pointer.isDown = true))
  addEventListener("pointerup", () => (pointer.isDown = false), { signal })
  addEventListener("pointermove", ({ clientX: x, clientY: y }) => (pointer = { ...pointer, x, y }), { signal })
  scroller.addEventListener("scroll", () => {
    const selection = getSelection()
    if (!pointer.isDown || !selection?.anchorNode || !scroller.contains(selection.anchorNode)) return
    const box = scroller.getBoundingClientRect()
    const y = Math.min(Math.max(pointer.y, box.top + 2), box.top + scroller.clientHeight - 2)
    const place = caretAt(Math.min(Math.max(pointer.x, box.left + 2), box.right - 16), y)
    if (place && rowOf(place.node, scroller)) selection.extend(place.node, place.offset)
  })
}

/** @param {number} x @param {number} y @returns {{ node: Node, offset: number } | undefined} */
function caretAt(x, y) {
  const source = /** @type {any} */ (document)
  const position = source.caretPositionFromPoint?.(x, y)
  if (position) return { node: position.offsetNode, offset: position.offset }
  const range = source.caretRangeFromPoint?.(x, y)
  return range ? { node: range.startContainer, offset: range.startOffset } : undefined
}

/** @param {Node | null} node @param {Element} within @returns {HTMLElement | undefined} */
export function rowOf(node, within) {
  const element = node instanceof Element ? node : node?.parentElement
  const row = element?.closest("[data-line]")
  return row && within.contains(row) ? /** @type {HTMLElement} */ (row) : undefined
}

/**
 * The place in a line for a place in its row; none outside of the row's text.
 *
 * @param {Node} node
 * @param {number} offset
 * @param {string} line A row shows it without marks of sections, which come first.
 */
export function placeIn(node, offset, line) {
  const text = (node instanceof Element ? node : node.parentElement)?.closest(".text")
  if (!text) return undefined
  const range = document.createRange()
  range.setStart(text, 0)
  range.setEnd(node, offset)
  const place = range.toString().length
  return place && Math.max(0, place + line.length - (text.textContent ?? "").length)
}
