/**
 * A list of any length, of which only the rows in view are elements.
 *
 * The scroll bar is only an input. What shows is placed by an anchor: a row, and how many pixels of it
 * are above the view. A small movement moves the anchor by true heights of rows, and a large one to the
 * share of the rows that it means. Rows that come below, or that change their height above, move nothing.
 */

import { make } from "../element.js"
import { Scale } from "./scale.js"

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
const OVERSCAN = 12

export class VirtualList {
  /** @type {Map<string, { element: HTMLElement, stamp: string }>} */
  #mounted = new Map()
  #first = 0
  #last = -1
  #anchor = { key: "", index: 0, offset: 0 }
  /** The last scroll position that is accounted for. */
  #top = 0
  #average = ROW
  #frame = 0
  #widest = 0
  isFollowing = false
  isWrapped = false
  /** Keys of rows that stay elements, for the selection. @type {Set<string>} */
  pinned = new Set()

  /**
   * @param {HTMLElement} scroller
   * @param {Source} source
   * @param {{ follow?: (isFollowing: boolean) => void, rendered?: () => void }} [hooks]
   */
  constructor(scroller, source, hooks = {}) {
    this.scroller = scroller
    this.source = source
    this.hooks = hooks
    this.rows = make("div", { class: "rows" })
    this.pane = make("div", { class: "pane" }, this.rows)
    this.space = make("div", { class: "space" }, this.pane)
    scroller.append(this.space)
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true })
    scroller.addEventListener("scrollend", () => this.#settle())
    this.resized = new ResizeObserver(() => this.render())
    this.resized.observe(scroller)
  }

  close() {
    this.resized.disconnect()
    cancelAnimationFrame(this.#frame)
  }

  /** Draw again in the next frame. */
  refresh() {
    if (!this.#frame) this.#frame = requestAnimationFrame(() => this.render())
  }

  /** @param {boolean} isFollowing */
  follow(isFollowing) {
    if (this.isFollowing === isFollowing) return
    this.isFollowing = isFollowing
    this.hooks.follow?.(isFollowing)
    if (isFollowing) this.render()
  }

  /** @param {boolean} isWrapped */
  wrap(isWrapped) {
    this.isWrapped = isWrapped
    this.#average = ROW
    this.#widest = 0
    this.space.style.minWidth = ""
    this.scroller.classList.toggle("wrap", isWrapped)
    this.render()
  }

  /**
   * Show a row, a third of the view from the top if it does not show already.
   *
   * @param {number} index
   * @param {{ always?: boolean, part?: number }} [how] `part` of the view is above the row.
   */
  reveal(index, { always = false, part = 1 / 3 } = {}) {
    const box = this.elementOf(index)?.getBoundingClientRect()
    const view = this.scroller.getBoundingClientRect()
    if (!always && box && box.top >= view.top && box.bottom <= view.bottom) return
    this.follow(false)
    this.#anchor = { key: "", index, offset: -this.#view() * part }
    this.render()
    this.#settle()
  }

  /** @param {number} pixels Downwards. */
  scrollBy(pixels) {
    if (pixels < 0) this.follow(false)
    this.#move(pixels)
    this.#settle()
  }

  /** The rows in view, the parts of rows included. */
  visible() {
    let first = this.#anchor.index
    const bottom = this.#topOf(first) + this.#anchor.offset + this.#view()
    let last = first
    while (last < this.#last && this.#topOf(last + 1) < bottom) last += 1
    return { first, last }
  }

  /** @param {number} index */
  elementOf(index) {
    if (index < 0 || index >= this.source.count) return undefined
    return this.#mounted.get(this.source.keyOf(index))?.element
  }

  render() {
    cancelAnimationFrame(this.#frame)
    this.#frame = 0
    const { count } = this.source
    const anchor = this.#anchor
    if (anchor.key) {
      const index = this.source.indexOf(anchor.key)
      if (index >= 0) anchor.index = index
    }
    anchor.index = Math.max(0, Math.min(anchor.index, count - 1))
    const view = this.#view()
    const most = Math.ceil(view / ROW) + 1
    if (this.isFollowing) this.#mount(count - most - OVERSCAN, count - 1)
    else this.#mount(anchor.index - OVERSCAN - (anchor.offset < 0 ? most : 0), anchor.index + most + OVERSCAN)
    this.#normalise()
    const scale = this.#scale()
    this.space.style.height = `${scale.height}px`
    this.pane.style.height = `${view}px`
    if (!this.isWrapped && this.rows.offsetWidth > this.#widest) {
      this.#widest = this.rows.offsetWidth
      this.space.style.minWidth = `${this.#widest}px`
    }
    if (this.isFollowing) this.#put(scale.end)
    if (count) {
      anchor.key = this.source.keyOf(anchor.index)
      const { first, last } = this.visible()
      this.source.show(first, last)
    }
    this.hooks.rendered?.()
  }

  #view() {
    return this.scroller.clientHeight
  }

  #scale() {
    return new Scale(this.source.count, this.isWrapped ? this.#average : ROW, this.#view())
  }

  #scrolled() {
    const top = this.scroller.scrollTop
    const moved = top - this.#top
    if (Math.abs(moved) < 0.5) return
    this.#top = top
    if (moved < 0) this.follow(false)
    if (Math.abs(moved) < 3 * this.#view()) this.#move(moved)
    else {
      const scale = this.#scale()
      const distance = scale.distanceAt(top)
      const index = Math.floor(distance / scale.row)
      this.#anchor = { key: "", index, offset: distance - index * scale.row }
      if (top >= scale.end - 1) this.#anchor = { key: "", index: this.source.count - 1, offset: 0 }
      this.render()
    }
    const isAtEnd = this.#isAtEnd()
    if (moved > 0 && isAtEnd) this.follow(true)
    // The bar ends before the rows do, or after them: without this, the wheel could not go on.
    const { end } = this.#scale()
    const isAtStart = this.#anchor.index === 0 && this.#anchor.offset <= 0
    if ((top <= 0 && !isAtStart) || (top >= end - 1 && !isAtEnd)) this.#settle()
  }

  /** @param {number} pixels */
  #move(pixels) {
    const reach = Math.ceil(Math.abs(pixels) / ROW) + 1
    const { index } = this.#anchor
    if (this.isWrapped) this.#mount(index - (pixels < 0 ? reach : 0), index + (pixels > 0 ? reach : 0))
    this.#anchor.offset += pixels
    this.#anchor.key = ""
    this.render()
  }

  /** Make the scroll bar say where the view is. */
  #settle() {
    const scale = this.#scale()
    const { index, offset } = this.#anchor
    const part = offset / (this.#heightOf(index) || ROW)
    let position = scale.positionOf((index + part) * scale.row)
    if (this.isFollowing || this.#isAtEnd()) position = scale.end
    else if (index > 0 || offset > 0) position = Math.max(1, Math.min(position, scale.end - 1))
    this.#put(position)
  }

  /** @param {number} position */
  #put(position) {
    if (Math.abs(this.scroller.scrollTop - position) > 0.5) this.scroller.scrollTop = position
    this.#top = this.scroller.scrollTop
  }

  #isAtEnd() {
    const last = this.source.count - 1
    if (this.#last < last) return false
    const bottom = this.#topOf(last) + this.#heightOf(last)
    return bottom - this.#topOf(this.#anchor.index) - this.#anchor.offset <= this.#view() + 1
  }

  /** Have the anchor be a row that is in view, and the rows fill the view. */
  #normalise() {
    const anchor = this.#anchor
    const last = this.source.count - 1
    if (last < 0) return
    const lowest = this.#topOf(last) + this.#heightOf(last) - this.#view()
    let top = this.#topOf(anchor.index) + anchor.offset
    if (this.#last === last && (this.isFollowing || top > lowest)) top = lowest
    if (this.#first === 0) top = Math.max(top, 0)
    let index = Math.min(Math.max(anchor.index, this.#first), this.#last)
    while (index < this.#last && this.#topOf(index + 1) <= top) index += 1
    while (index > this.#first && this.#topOf(index) > top) index -= 1
    anchor.index = index
    anchor.offset = top - this.#topOf(index)
    anchor.key = this.source.keyOf(index)
    const most = Math.ceil(this.#view() / ROW) + 1
    // The anchor may have moved by more than what was mounted around it.
    this.#mount(index - OVERSCAN, index + most + OVERSCAN)
    this.rows.style.transform = `translateY(${-this.#topOf(anchor.index) - anchor.offset}px)`
    if (this.isWrapped) this.#average = this.rows.offsetHeight / (this.#last - this.#first + 1) || ROW
  }

  /** @param {number} index The top of a mounted row within the mounted rows, in pixels. */
  #topOf(index) {
    if (!this.isWrapped) return (index - this.#first) * ROW
    return this.elementOf(index)?.offsetTop ?? (index - this.#first) * ROW
  }

  /** @param {number} index */
  #heightOf(index) {
    return this.isWrapped ? this.elementOf(index)?.offsetHeight ?? ROW : ROW
  }

  /**
   * Have just these rows as elements, in their order.
   *
   * @param {number} first
   * @param {number} last
   */
  #mount(first, last) {
    this.#first = Math.max(0, first)
    this.#last = Math.min(this.source.count - 1, last)
    const wanted = new Map()
    for (let index = this.#first; index <= this.#last; index += 1) wanted.set(this.source.keyOf(index), index)
    for (const [key, { element }] of this.#mounted) {
      const isPinned = this.pinned.has(key)
      element.classList.toggle("pinned", isPinned && !wanted.has(key))
      if (wanted.has(key) || isPinned) continue
      element.remove()
      this.#mounted.delete(key)
    }
    let place = this.rows.firstElementChild
    while (place?.classList.contains("pinned") && this.source.indexOf(keyOf(place)) < this.#first) place = place.nextElementSibling
    for (const [key, index] of wanted) {
      const stamp = this.source.stampOf(index)
      const known = this.#mounted.get(key)
      if (known?.stamp === stamp) {
        if (known.element === place) place = place.nextElementSibling
        else this.rows.insertBefore(known.element, place)
        continue
      }
      const element = this.source.build(index)
      element.dataset.key = key
      if (known?.element === place) place = place?.nextElementSibling ?? null
      known?.element.remove()
      this.rows.insertBefore(element, place)
      this.#mounted.set(key, { element, stamp })
    }
  }
}

/** @param {Element} element */
function keyOf(element) {
  return /** @type {HTMLElement} */ (element).dataset.key ?? ""
}
