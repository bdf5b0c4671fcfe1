/** Marks matches in the rows that show, without an element for each. */

/** @typedef {import("./finder.js").Query} Query */

const ALL = "find"
const CURRENT = "find-now"
/** A row of 64 KiB that matches everywhere must not stall the page. */
const MOST_IN_ROW = 200

/** What matches, or nothing if only the service can tell. @param {Query} query */
export function patternOf({ find, matchCase, isRegex }) {
  const source = isRegex ? find : find.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")
  try {
    return new RegExp(source, matchCase ? "gu" : "giu")
  } catch {
    // RE2 has a syntax of its own; the row as a whole still counts as a match.
    return undefined
  }
}

/**
 * @param {Iterable<HTMLElement>} rows
 * @param {Query | undefined} query
 * @param {number} current The number of the line that is the current match.
 */
export function highlight(rows, query, current) {
  const registry = CSS.highlights
  if (!registry) return
  const pattern = query && patternOf(query)
  if (!pattern) {
    registry.delete(ALL)
    registry.delete(CURRENT)
    return
  }
  /** @type {Range[]} */ const all = []
  /** @type {Range[]} */ const now = []
  for (const row of rows) {
    if (query.stream && row.dataset.stream !== query.stream) continue
    const text = row.querySelector(".text")
    if (!text || !row.dataset.line) continue
    const isCurrent = Number(row.dataset.line) === current
    ;(isCurrent ? now : all).push(...rangesIn(text, pattern))
  }
  registry.set(ALL, new Highlight(...all))
  registry.set(CURRENT, new Highlight(...now))
}

/** @param {Element} element @param {RegExp} pattern */
function rangesIn(element, pattern) {
  /** @type {Range[]} */
  const ranges = []
  for (const { 0: found, index } of (element.textContent ?? "").matchAll(pattern)) {
    if (!found || ranges.length >= MOST_IN_ROW) break
    const range = document.createRange()
    range.setStart(...placeAt(element, index))
    range.setEnd(...placeAt(element, index + found.length))
    ranges.push(range)
  }
  return ranges
}

/**
 * The text node and the place in it for a place in the element's text.
 *
 * @param {Element} element
 * @param {number} place
 * @returns {[Node, number]}
 */
function placeAt(element, place) {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT)
  let node = walker.nextNode()
  while (node && place > (node.textContent?.length ?? 0)) {
    place -= node.textContent?.length ?? 0
    node = walker.nextNode()
  }
  return node ? [node, place] : [element, element.childNodes.length]
}
