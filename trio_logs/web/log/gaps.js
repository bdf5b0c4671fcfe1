/** The lines that are missing: each run of them is one row; sans-IO. */

import { lastFrom } from "./row_map.js"

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
    const gap = lastFrom(this.all, line)
    return gap && line <= gap.to ? gap : undefined
  }
}
