/** The rows of a list that are elements. */

import { make } from "../element.js"

/**
 * @typedef {object} Source
 * @property {number} count
 * @property {(index: number) => string} keyOf The same for a row when other rows come or go.
 * @property {(key: string) => number} indexOf -1 for a row that is gone.
 * @property {(index: number) => string} stampOf Differs when the row has to be built again.
 * @property {(index: number) => HTMLElement} build
 * @property {(first: number, last: number) => void} show Told which rows are in view.
 */

/** The height of a row that is not wrapped, in pixels; see the style. */
export const ROW = 18

export class MountedRows {
  /** By key. @type {Map<string, { element: HTMLElement, stamp: string }>} */
  #rows = new Map()
  first = 0
  last = -1
  isWrapped = false
  /** Keys of rows that stay elements outside of the range. @type {Set<string>} */
  pinned = new Set()
  parent = make("div", { class: "rows" })

  /** @param {Source} source */
  constructor(source) {
    this.source = source
  }

  /** @param {number} index */
  elementOf(index) {
    if (index < 0 || index >= this.source.count) return undefined
    return this.#rows.get(this.source.keyOf(index))?.element
  }

  /** The top of a row within all of them, in pixels. @param {number} index */
  topOf(index) {
    if (!this.isWrapped) return (index - this.first) * ROW
    return this.elementOf(index)?.offsetTop ?? (index - this.first) * ROW
  }

  /** In pixels. @param {number} index */
  heightOf(index) {
    return this.isWrapped ? this.elementOf(index)?.offsetHeight ?? ROW : ROW
  }

  /**
   * Have these rows as elements, in their order, and no other but the pinned ones.
   *
   * @param {number} first
   * @param {number} last
   */
  mount(first, last) {
    this.first = Math.max(0, first)
    this.last = Math.min(this.source.count - 1, last)
    /** @type {Map<string, number>} */
    const wanted = new Map()
    for (let index = this.first; index <= this.last; index += 1) wanted.set(this.source.keyOf(index), index)
    this.#unmount(wanted)
    let place = this.#start()
    for (const [key, index] of wanted) {
      const stamp = this.source.stampOf(index)
      const known = this.#rows.get(key)
      if (known?.stamp === stamp) {
        if (known.element === place) place = place.nextElementSibling
        else this.parent.insertBefore(known.element, place)
        continue
      }
      const element = this.source.build(index)
      element.dataset.key = key
      if (known?.element === place) place = place?.nextElementSibling ?? null
      known?.element.remove()
      this.parent.insertBefore(element, place)
      this.#rows.set(key, { element, stamp })
    }
  }

  /** @param {Map<string, number>} wanted */
  #unmount(wanted) {
    for (const [key, { element }] of this.#rows) {
      const isPinned = this.pinned.has(key)
      element.classList.toggle("pinned", isPinned && !wanted.has(key))
      if (wanted.has(key) || isPinned) continue
      element.remove()
      this.#rows.delete(key)
    }
  }

  /** Where the first row goes: after the pinned rows that are above it. */
  #start() {
    let place = this.parent.firstElementChild
    while (place?.classList.contains("pinned")) {
      const { key = "" } = /** @type {HTMLElement} */ (place).dataset
      if (this.source.indexOf(key) >= this.first) break
      place = place.nextElementSibling
    }
    return place
  }
}
