/** What is new of all workloads, for all tabs. */

/** In place of the id of a log. */
export const CHANGES = "*"

/**
 * The newest change of each workload, as the service sends it.
 *
 * @typedef {object} Changes
 * @property {string} id `CHANGES`.
 * @property {any[]} changes Objects with the event `workload`, `deleted` or `progress`.
 * @property {boolean} isStale The tab has to list again: it lacks changes from before.
 */

export class ChangeNews {
  id = CHANGES
  end = undefined
  /** By workload. @type {Map<string, any>} */
  #changes = new Map()
  #isStale = false

  /** @param {string} position That of the list of the first tab. */
  constructor(position) {
    this.position = position
  }

  get parameter() {
    return `events=${this.position}`
  }

  /** A tab that comes now has listed before, maybe long before. @returns {Changes} */
  now() {
    return { id: CHANGES, changes: [], isStale: true }
  }

  /** A new answer goes on after the position. */
  forget() {
    return false
  }

  /** @param {any} object */
  receive(object) {
    // The position of a stream starts with that of the changes.
    if (object.event === "position") this.position = object.id.split(".")[0]
    else if (object.event === "reset") this.#isStale = true
    else if (object.event === "progress") {
      const known = this.#changes.get(object.id)
      this.#changes.set(object.id, known ? { ...known, lines: object.lines, bytes: object.bytes } : object)
    } else if (object.position !== undefined) {
      this.position = object.position
      this.#changes.set(object.id, object)
    }
  }

  /** What came since the last call. @returns {Changes} */
  take() {
    const news = { id: CHANGES, changes: [...this.#changes.values()], isStale: this.#isStale }
    this.#changes = new Map()
    this.#isStale = false
    return news
  }
}
