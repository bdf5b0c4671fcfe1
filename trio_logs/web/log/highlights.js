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

/** The ranges of each view. The browser has one registry for the document. @type {Map<object, { all: Range[], now: Range[] }>} */
const marked = new Map()

/**
 * @param {object} view Whose rows they are: the marks of other views stay.
 * @param {Iterable<HTMLElement>} rows
 * @param {Query | undefined} query
 * @param {(row: HTMLElement) => boolean} isCurrent Whether a row is the current match.
 */
export function highlight(view, rows, query, isCurrent = () => false) {
  const registry = CSS.highlights
  const pattern = query && patternOf(query)
  if (!registry || (!pattern && !marked.has(view))) return
  marked.delete(view)
  if (pattern) {
    /** @type {Range[]} */ const all = []
    /** @type {Range[]} */ const now = []
    for (const row of rows) {
      if (query.stream && row.dataset.stream !== query.stream) continue
      const text = row.querySelector(".text")
      if (!text || !row.dataset.line) continue
      ;(isCurrent(row) ? now : all).push(...rangesIn(text, pattern))
    }
    marked.set(view, { all, now })
  }
  registry.set(ALL, new Highlight(...[...marked.values()].flatMap(({ all }) => all)))
  registry.set(CURRENT, new Highlight(...[...marked.values()].flatMap(({ now }) => now)))
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
