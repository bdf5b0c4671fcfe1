/** The line between two panes, which changes their widths: by the pointer, the arrow keys, or a double click. */

import { make } from "../element.js"

/** Percent of both panes. */
const STEP = 5
const LEAST = 10

/**
 * @param {number} percent What the left pane has of both.
 * @param {(share: number) => void} share Gets that percentage when it changes.
 */
export function divider(percent, share) {
  const show = (/** @type {number} */ wanted) => {
    const rounded = Math.round(Math.min(100 - LEAST, Math.max(LEAST, wanted)))
    element.setAttribute("aria-valuenow", String(rounded))
    share(rounded)
  }
  const now = () => Number(element.getAttribute("aria-valuenow"))
  const element = make("div", {
    class: "divider",
    role: "separator",
    tabindex: "0",
    "aria-orientation": "vertical",
    "aria-label": "Width",
    "aria-valuemin": String(LEAST),
    "aria-valuemax": String(100 - LEAST),
    "aria-valuenow": String(Math.round(percent)),
    ondblclick: () => show(50),
    onkeydown: (/** @type {KeyboardEvent} */ event) => {
      const step = { ArrowLeft: -STEP, ArrowRight: STEP }[event.key]
      if (!step || event.altKey || event.ctrlKey || event.metaKey) return
      event.preventDefault()
      show(now() + step)
    },
    onpointerdown: (/** @type {PointerEvent} */ event) => {
      event.preventDefault()
      element.focus()
      element.setPointerCapture(event.pointerId)
    },
    onpointermove: (/** @type {PointerEvent} */ event) => {
      if (!element.hasPointerCapture(event.pointerId)) return
      const left = element.previousElementSibling?.getBoundingClientRect().left ?? 0
      const right = element.nextElementSibling?.getBoundingClientRect().right ?? 0
      if (right > left) show((100 * (event.clientX - left)) / (right - left))
    },
  })
  return element
}
