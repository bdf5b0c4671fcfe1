/** Which row a line has, where some lines have none; sans-IO. */

/** @typedef {{ from: number, to: number }} Range Lines, both ends included; `to` may be Infinity. */

/**
 * The last range that starts at a line or before it.
 *
 * @template {Range} T
 * @param {T[]} ranges In order.
 * @param {number} line
 */
export function lastFrom(ranges, line) {
  let [low, high] = [0, ranges.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (/** @type {T} */ (ranges[middle]).from <= line) low = middle + 1
    else high = middle
  }
  return ranges[low - 1]
}

export class RowMap {
  /** In order and apart; `before` is the number of lines in the ranges before. @type {(Range & { before: number })[]} */
  #hidden = []

  /** @param {Range[]} hidden Lines without a row, in any order. Line 1 is none of them. */
  constructor(hidden) {
    for (const { from, to } of hidden.filter((each) => each.from <= each.to).sort((one, other) => one.from - other.from)) {
      const last = this.#hidden.at(-1)
      if (last && from <= last.to + 1) last.to = Math.max(last.to, to)
      else this.#hidden.push({ from, to, before: last ? last.before + last.to - last.from + 1 : 0 })
    }
  }

  /** The rows that lines up to `last` take. @param {number} last */
  count(last) {
    const range = lastFrom(this.#hidden, last)
    return range ? last - range.before - (Math.min(range.to, last) - range.from + 1) : last
  }

  /** The row of a line, from 0; for one without a row, that of the last one before it. @param {number} line */
  rowOf(line) {
    return this.count(line) - 1
  }

  /** The line of a row. @param {number} row */
  lineOf(row) {
    let [low, high] = [0, this.#hidden.length]
    while (low < high) {
      const middle = (low + high) >> 1
      const { from, before } = /** @type {Range & { before: number }} */ (this.#hidden[middle])
      if (from - 1 - before <= row) low = middle + 1
      else high = middle
    }
    const range = this.#hidden[low - 1]
    return row + 1 + (range ? range.before + range.to - range.from + 1 : 0)
  }
}
