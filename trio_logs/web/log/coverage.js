/** Which lines of a log were looked at; sans-IO. */

/** @typedef {import("./row_map.js").Range} Range */

export class Coverage {
  /** In order and apart. @type {Range[]} */
  all = []

  /** @param {number} from @param {number} to */
  add(from, to) {
    const last = this.all.at(-1)
    // Lines come one after the other.
    if (last && from >= last.from && from <= last.to + 1) {
      last.to = Math.max(last.to, to)
      return
    }
    const near = this.all.filter((each) => each.from <= to + 1 && each.to >= from - 1)
    const range = { from: Math.min(from, ...near.map((each) => each.from)), to: Math.max(to, ...near.map((each) => each.to)) }
    this.all = [...this.all.filter((each) => !near.includes(each)), range].sort((one, other) => one.from - other.from)
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
