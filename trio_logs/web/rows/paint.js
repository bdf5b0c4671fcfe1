/** A row as elements: text nodes, class names, and the colours that no class has. */

import { make } from "../element.js"
import { BOLD, DIM, HIDDEN, INVERSE, ITALIC, OVERLINE, RGB, STRIKE, UNDERLINE } from "./style.js"

/** @typedef {import("./row.js").Run} Run */
/** @typedef {import("./style.js").Style} Style */

// Not the characters that turn the direction of text around: an address must read as it leads.
const NONE = String.raw`\s"'<>\x60\x00-\x1f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069`
const ADDRESS = new RegExp(String.raw`\bhttps?:\/\/[^${NONE}]+[^${NONE}.,:;!?)\]}]`, "g")
const LEVELS = [0, 95, 135, 175, 215, 255]
/** @type {[number, string][]} */
const CLASSES = [
  [BOLD, "bold"],
  [DIM, "dim"],
  [ITALIC, "italic"],
  [UNDERLINE, "underline"],
  [HIDDEN, "hidden"],
  [STRIKE, "strike"],
  [OVERLINE, "overline"],
]

/**
 * @param {Run[]} runs
 * @param {boolean} [hasLinks] Links have no place in a button.
 * @returns {Node[]}
 */
export function paint(runs, hasLinks = true) {
  return runs.flatMap((run) => {
    const text = () => (hasLinks ? linked(run.text) : [document.createTextNode(run.text)])
    const nodes = run.link && hasLinks ? [linkTo(run.link, run.text)] : text()
    const { color, ground, flags } = run.style
    if (color < 0 && ground < 0 && !flags) return nodes
    const span = make("span", {}, ...nodes)
    dress(span, run.style)
    return [span]
  })
}

/** @param {Run[]} runs */
export function textOf(runs) {
  return runs.map((run) => run.text).join("")
}

/** A text with its addresses as links. @param {string} text @returns {(Node | string)[]} */
function linkedParts(text) {
  const parts = []
  let place = 0
  for (const { 0: address, index } of text.matchAll(ADDRESS)) {
    parts.push(text.slice(place, index), linkTo(address, address))
    place = index + address.length
  }
  return [...parts, text.slice(place)]
}

/** @param {string} text @returns {Node[]} */
function linked(text) {
  if (!text.includes("://")) return [document.createTextNode(text)]
  return linkedParts(text).map((part) => (typeof part === "string" ? document.createTextNode(part) : part))
}

/** @param {string} address @param {string} text */
function linkTo(address, text) {
  const link = make("a", { href: address, target: "_blank", rel: "noopener noreferrer", tabindex: "-1" }, text)
  // What a program calls a link may say something else than where it leads.
  if (text !== address) link.title = link.href
  return link
}

/** @param {HTMLElement} span @param {Style} style */
function dress(span, { color, ground, flags }) {
  const isInverse = Boolean(flags & INVERSE)
  for (const [flag, name] of CLASSES) if (flags & flag) span.classList.add(name)
  // Of a theme's own colours, each one has its counterpart for the inverse.
  if (isInverse && ground < 0) span.classList.add("as-ground")
  if (isInverse && color < 0) span.classList.add("on-text")
  const [front, back] = isInverse ? [ground, color] : [color, ground]
  if (front >= 0 && front < 16) span.classList.add(`c${front}`)
  else if (front >= 0) span.style.color = css(front)
  if (back >= 0 && back < 16) span.classList.add(`g${back}`)
  else if (back >= 0) span.style.backgroundColor = css(back)
}

/** @param {number} colour 16 to 255, or RGB. Source: xterm's palette of 256 colours. */
function css(colour) {
  if (colour >= RGB) return `#${(colour - RGB).toString(16).padStart(6, "0")}`
  const grey = 8 + (colour - 232) * 10
  if (colour >= 232) return `rgb(${grey} ${grey} ${grey})`
  const cube = colour - 16
  const parts = [Math.floor(cube / 36), Math.floor(cube / 6) % 6, cube % 6].map((part) => LEVELS[part])
  return `rgb(${parts.join(" ")})`
}
