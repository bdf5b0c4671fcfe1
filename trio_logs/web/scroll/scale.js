/**
 * Where a row is on the scroll bar, and which row a place on it means; sans-IO.
 *
 * A browser's elements end at some 30 million pixels, so long lists are drawn to a smaller scale. Near
 * both ends the scale is 1:1 all the same: the wheel must reach the first and the last row.
 */

/** Pixels. */
export const TALLEST = 8_000_000

export class Scale {
  /**
   * @param {number} count Rows.
   * @param {number} row The height of a row in pixels, or an average.
   * @param {number} view The height of what shows of them in pixels.
   */
  constructor(count, row, view) {
    this.row = row
    this.view = view
    this.whole = count * row
    /** The height of the element that scrolls. */
    this.height = Math.max(view, Math.min(this.whole, TALLEST))
    this.isExact = this.whole <= TALLEST
    this.near = Math.min(5 * view, TALLEST / 10)
  }

  /** The scroll position at the end. */
  get end() {
    return this.height - this.view
  }

  /**
   * The scroll position for a distance from the first row.
   *
   * @param {number} distance In pixels of rows.
   */
  positionOf(distance) {
    const { whole, view, near, end } = this
    if (this.isExact) return Math.min(Math.max(distance, 0), end)
    const below = whole - view - distance
    if (distance < near) return Math.max(distance, 0)
    if (below < near) return end - Math.max(below, 0)
    return near + ((distance - near) / (whole - view - 2 * near)) * (end - 2 * near)
  }

  /**
   * The distance from the first row, in pixels of rows, for a scroll position.
   *
   * @param {number} position
   */
  distanceAt(position) {
    const { whole, view, near, end } = this
    if (this.isExact || position < near) return position
    if (position > end - near) return whole - view - (end - position)
    return near + ((position - near) / (end - 2 * near)) * (whole - view - 2 * near)
  }
}
