/** The number of a line is a link to it; with Shift, one to all lines from the last one. */

/**
 * @param {HTMLElement} scroller
 * @param {() => number | undefined} start The first line that the address points at.
 * @param {(from: number, to: number) => void} go
 */
export function linkLines(scroller, start, go) {
  scroller.addEventListener("click", (event) => {
    const number = /** @type {Element} */ (event.target).closest?.("a.number")
    const line = Number(number?.parentElement?.dataset.line)
    if (!line) return
    event.preventDefault()
    const other = (event.shiftKey && start()) || line
    go(Math.min(other, line), Math.max(other, line))
  })
}
