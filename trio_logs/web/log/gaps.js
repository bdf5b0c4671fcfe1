/** The lines that are missing: each run of them is one row; sans-IO. */

/** @typedef {{ from: number, to: number, reason: string }} Gap Both ends included. */

export class Gaps {
  /** In order; none touches another of the same reason. @type {Gap[]} */
  all = []

  /** @param {Gap} gap It replaces what it overlaps. */
  add({ from, to, reason }) {
    /** @type {Gap[]} */
    const kept = []
    for (const each of this.all) {
      const isNear = each.from <= to + 1 && each.to >= from - 1
      if (isNear && each.reason === reason) {
        from = Math.min(from, each.from)
        to = Math.max(to, each.to)
        continue
      }
      if (each.from < from) kept.push({ ...each, to: Math.min(each.to, from - 1) })
      if (each.to > to) kept.push({ ...each, from: Math.max(each.from, to + 1) })
    }
    this.all = [...kept, { from, to, reason }].sort((one, other) => one.from - other.from)
  }

  /** @param {number} line */
  of(line) {
    return this.all.find((gap) => gap.from <= line && line <= gap.to)
  }

  /** The rows that lines up to `last` take. @param {number} last */
  count(last) {
    return last - this.all.reduce((sum, gap) => sum + Math.max(0, Math.min(gap.to, last) - gap.from), 0)
  }

  /** The row of a line, from 0. @param {number} line */
  rowOf(line) {
    return this.count(this.of(line)?.from ?? line) - 1
  }

  /** The line of a row, or the first of a gap. @param {number} row */
  lineOf(row) {
    let line = row + 1
    for (const gap of this.all) {
      if (gap.from >= line) break
      line += gap.to - gap.from
    }
    return line
  }
}
