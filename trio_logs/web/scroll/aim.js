/**
 * A row to reveal, until all that is in view is here.
 *
 * Rows that are still fetched have the height of one line. Once they come, wrapped, they would push the
 * row out of the view, or near the end have it scrolled too far.
 */

export class Aim {
  #key = ""
  #part = 0

  /** @param {import("./mounted_rows.js").Source} source */
  constructor(source) {
    this.source = source
  }

  /** @param {number} index @param {number} part Of the view that is above the row. */
  take(index, part) {
    this.#key = this.source.keyOf(index)
    this.#part = part
  }

  drop() {
    this.#key = ""
  }

  /** Have the anchor be the row. @param {{ index: number, offset: number }} anchor @param {number} view In pixels. */
  place(anchor, view) {
    const index = this.#key ? this.source.indexOf(this.#key) : -1
    if (index >= 0) Object.assign(anchor, { index, offset: -view * this.#part })
  }

  /** Whether it is met now that these rows are in view; then it is dropped. @param {number} first @param {number} last */
  meet(first, last) {
    if (!this.#key) return false
    for (let index = first; index <= last; index += 1) if (this.source.isReady?.(index) === false) return false
    this.drop()
    return true
  }
}
