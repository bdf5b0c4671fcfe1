/** Which lines of a log were looked at; sans-IO. */

/** @typedef {import("./row_map.js").Range} Range */

/** Single lines that match, far apart, are as many ranges. */
export const MOST_RANGES = 1000

export class Coverage {
  /** In order and apart. @type {Range[]} */
  all = []

  /** @param {number} from @param {number} to */
  add(from, to) {
    const { all } = this
    const last = all.at(-1)
    // Lines come one after the other.
    if (last && from >= last.from && from <= last.to + 1) {
      last.to = Math.max(last.to, to)
      return
    }
    let [start, high] = [0, all.length]
    while (start < high) {
      const middle = (start + high) >> 1
      if (/** @type {Range} */ (all[middle]).to < from - 1) start = middle + 1
      else high = middle
    }
    let end = start
    for (let each = all[end]; each && each.from <= to + 1; each = all[(end += 1)]) {
      from = Math.min(from, each.from)
      to = Math.max(to, each.to)
    }
    all.splice(start, end - start, { from, to })
    if (all.length > MOST_RANGES) this.#shed()
  }

  /** Forget the shorter half. */
  #shed() {
    const lengths = this.all.map(({ from, to }) => to - from).sort((one, other) => one - other)
    const median = lengths[lengths.length >> 1] ?? 0
    const kept = this.all.filter(({ from, to }) => to - from > median)
    this.all = kept.length ? kept : this.all.slice(-1)
  }

  /** @param {number} line */
  removeBefore(line) {
    this.all = this.all.filter(({ to }) => to >= line).map(({ from, to }) => ({ from: Math.max(from, line), to }))
  }

  /** The first and the last line up to `head` that were not looked at. @param {number} head @returns {[number, number] | undefined} */
  missing(head) {
    const [first] = this.all
    const last = this.all.at(-1)
    const from = first?.from === 1 ? first.to + 1 : 1
    const to = last && last.to >= head ? last.from - 1 : head
    return from <= to ? [from, to] : undefined
  }
}
