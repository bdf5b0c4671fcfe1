/** What is new of one log, for all tabs that show it. */

/** @typedef {{ seq: number, time: string, stream: string, text: string, partial?: boolean }} Line */

/**
 * What is new of a log. Lines that it leaves out are in the store: the tab asks for them once it shows
 * them.
 *
 * @typedef {object} News
 * @property {string} id
 * @property {number} head The number of the last line.
 * @property {Line[]} lines The last ones, at most `MOST_LINES`.
 * @property {any[]} events Gaps, resets and the end.
 * @property {Record<string, string>} unfinished The text of each stream that has not ended its line.
 */

/** Lines in a message, which are more than a screen has. */
export const MOST_LINES = 300

export class LogNews {
  /** @type {Line[]} */
  #lines = []
  /** @type {any[]} */
  #events = []
  /** @type {Record<string, string>} */
  #unfinished = {}
  /** The last end, for a tab that comes later. @type {any} */
  end = undefined

  /**
   * @param {string} id
   * @param {number} head The number of the last line that is known.
   */
  constructor(id, head) {
    this.id = id
    this.head = head
  }

  /** As the parameter of a stream that goes on after the last line. */
  get parameter() {
    return `workload=${this.id}.${this.head}`
  }

  /** All that a tab that comes now has to know. @returns {News} */
  now() {
    return { id: this.id, head: this.head, lines: [], events: this.end ? [this.end] : [], unfinished: this.#unfinished }
  }

  /** Forget the lines that have not ended: a new answer has those there are. Whether there were any. */
  forget() {
    const had = Object.keys(this.#unfinished).length > 0
    this.#unfinished = {}
    return had
  }

  /** Take an object of this log in. @param {any} object */
  receive(object) {
    if (object.seq !== undefined) {
      // A stream that resumes may repeat lines.
      if (object.seq <= this.head) return
      this.head = object.seq
      delete this.#unfinished[object.stream]
      this.#lines.push(object)
      if (this.#lines.length > 2 * MOST_LINES) this.#lines = this.#lines.slice(-MOST_LINES)
    } else if (object.event === "unfinished") {
      this.#unfinished[object.stream] = object.text
    } else {
      if (object.event === "gap") this.head = Math.max(this.head, object.to)
      if (object.event === "reset") {
        this.head = 0
        this.#lines = []
      }
      if (object.event === "end" || object.event === "gone") {
        this.end = object
        this.#unfinished = {}
      }
      this.#events.push(object)
    }
  }

  /** What came since the last call. @returns {News} */
  take() {
    const news = { ...this.now(), lines: this.#lines.slice(-MOST_LINES), events: this.#events, unfinished: { ...this.#unfinished } }
    this.#lines = []
    this.#events = []
    return news
  }
}
