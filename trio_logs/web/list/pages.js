/** The workloads of the list: its first page, kept fresh, and those that scrolling has added; sans-IO. */

/** @typedef {import("../format.js").Workload} Workload */
/** @typedef {{ workloads: Workload[], next: string | null }} Page */

export class Pages {
  /** Newest first. @type {Workload[]} */
  workloads = []
  /** Where the page after the last one begins; null after all, or before the first. @type {string | null} */
  next = null

  /** Another search or filter: nothing of the last one stays below. */
  clear() {
    this.workloads = []
    this.next = null
  }

  /** Take the first page in, as it is now. @param {Page} page */
  refresh({ workloads, next }) {
    const ids = new Set(workloads.map(({ id }) => id))
    const place = this.workloads.findLastIndex(({ id }) => ids.has(id))
    // Without a workload in common, workloads may be missing between both: scrolling fetches them anew.
    const older = next === null || place < 0 ? [] : this.workloads.slice(place + 1)
    this.workloads = [...workloads, ...older]
    this.next = older.length ? this.next : next
  }

  /** Take the page in that follows. @param {Page} page */
  add({ workloads, next }) {
    this.workloads = [...this.workloads, ...workloads]
    this.next = next
  }

  /**
   * Take a change of a workload in.
   *
   * @param {any} change As the service sends it.
   * @param {string[]} statuses Those that show; none for all.
   */
  change(change, statuses) {
    const place = this.workloads.findIndex(({ id }) => id === change.id)
    const known = this.workloads[place]
    if (!known) return
    const isGone = change.event === "deleted" || (change.status && statuses.length > 0 && !statuses.includes(change.status))
    if (isGone) this.workloads.splice(place, 1)
    else Object.assign(known, change)
  }
}
