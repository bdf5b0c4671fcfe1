/**
 * A list of any length, of which only the rows in view are elements.
 *
 * The scroll bar is only an input. What shows is placed by an anchor: a row, and how many pixels of it
 * are above the view. A small movement moves the anchor by true heights of rows, and a large one to the
 * share of the rows that it means. Rows that come below, or that change their height above, move nothing.
 */

import { make } from "../element.js"
import { MountedRows, ROW } from "./mounted_rows.js"
import { Scale } from "./scale.js"

/** @typedef {import("./mounted_rows.js").Source} Source */

const OVERSCAN = 12

export class VirtualList {
  #anchor = { key: "", index: 0, offset: 0 }
  /** The last scroll position that is accounted for. */
  #top = 0
  #average = ROW
  #frame = 0
  #widest = 0
  isFollowing = false

  /**
   * @param {HTMLElement} scroller
   * @param {Source} source
   * @param {{ follow?: (isFollowing: boolean) => void, rendered?: () => void }} [hooks]
   */
  constructor(scroller, source, hooks = {}) {
    this.scroller = scroller
    this.source = source
    this.hooks = hooks
    this.mounted = new MountedRows(source)
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

  /** The element that has the rows. */
  get rows() {
    return this.mounted.parent
  }

  get isWrapped() {
    return this.mounted.isWrapped
  }

  /** Keys of rows that stay elements, for the selection. @param {Set<string>} keys */
  pin(keys) {
    this.mounted.pinned = keys
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
    this.mounted.isWrapped = isWrapped
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

  /** The rows in view, parts of rows included; `firstWhole` is the first one whose top is in view. */
  visible() {
    const { index: first, offset } = this.#anchor
    const bottom = this.mounted.topOf(first) + offset + this.#view()
    let last = first
    while (last < this.mounted.last && this.mounted.topOf(last + 1) < bottom) last += 1
    return { first, last, firstWhole: Math.min(last, offset > 0.5 ? first + 1 : first) }
  }

  /** @param {number} index */
  elementOf(index) {
    return this.mounted.elementOf(index)
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
    if (this.isFollowing) this.mounted.mount(count - most - OVERSCAN, count - 1)
    else this.mounted.mount(anchor.index - OVERSCAN - (anchor.offset < 0 ? most : 0), anchor.index + most + OVERSCAN)
    this.#normalise()
    const scale = this.#scale()
    this.space.style.height = `${scale.height}px`
    this.pane.style.height = `${view}px`
    // Rows are as wide as the view at least; that is no reason to scroll sideways.
    if (!this.isWrapped && this.rows.offsetWidth > Math.max(this.#widest, this.scroller.clientWidth)) {
      this.#widest = this.rows.offsetWidth
      this.space.style.minWidth = `${this.#widest}px`
    }
    if (this.isFollowing) this.#put(scale.end)
    // Rows have gone: the browser would end at the end of the bar, as if somebody had scrolled there.
    else if (this.#top > scale.end) this.#settle()
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
    if (this.isWrapped) this.mounted.mount(index - (pixels < 0 ? reach : 0), index + (pixels > 0 ? reach : 0))
    this.#anchor.offset += pixels
    this.#anchor.key = ""
    this.render()
  }

  /** Make the scroll bar say where the view is. */
  #settle() {
    const scale = this.#scale()
    const { index, offset } = this.#anchor
    const part = offset / (this.mounted.heightOf(index) || ROW)
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
    if (this.mounted.last < last) return false
    const bottom = this.mounted.topOf(last) + this.mounted.heightOf(last)
    return bottom - this.mounted.topOf(this.#anchor.index) - this.#anchor.offset <= this.#view() + 1
  }

  /** Have the anchor be a row that is in view, and the rows fill the view. */
  #normalise() {
    const anchor = this.#anchor
    const last = this.source.count - 1
    if (last < 0) return
    const lowest = this.mounted.topOf(last) + this.mounted.heightOf(last) - this.#view()
    let top = this.mounted.topOf(anchor.index) + anchor.offset
    if (this.mounted.last === last && (this.isFollowing || top > lowest)) top = lowest
    if (this.mounted.first === 0) top = Math.max(top, 0)
    let index = Math.min(Math.max(anchor.index, this.mounted.first), this.mounted.last)
    while (index < this.mounted.last && this.mounted.topOf(index + 1) <= top) index += 1
    while (index > this.mounted.first && this.mounted.topOf(index) > top) index -= 1
    anchor.index = index
    anchor.offset = top - this.mounted.topOf(index)
    anchor.key = this.source.keyOf(index)
    const most = Math.ceil(this.#view() / ROW) + 1
    // The anchor may have moved by more than what was mounted around it.
    this.mounted.mount(index - OVERSCAN, index + most + OVERSCAN)
    this.rows.style.transform = `translateY(${-this.mounted.topOf(anchor.index) - anchor.offset}px)`
    if (this.isWrapped) this.#average = this.rows.offsetHeight / (this.mounted.last - this.mounted.first + 1) || ROW
  }
}
