/** The rows of a log that match, each by its place among all matches. */

import { objectsOf } from "../wire/ndjson.js"
import { isWhole, parametersOf } from "./finder.js"

/** @typedef {import("./finder.js").Tile} Tile */
/** @typedef {import("./model.js").Entry} Entry */

export class MatchesModel {
  /** The numbers of all matches of a dense tile. @type {Map<Tile, number[]>} */
  #numbers = new Map()
  /** @type {string} */
  #wanted = ""
  #abort = new AbortController()

  /**
   * @param {import("./model.js").LogModel} model
   * @param {import("./finder.js").Finder} finder
   * @param {(path: string, signal: AbortSignal) => Promise<Response>} read
   * @param {() => void} loaded
   */
  constructor(model, finder, read, loaded) {
    this.model = model
    this.finder = finder
    this.read = read
    this.loaded = loaded
  }

  get count() {
    return this.finder.count
  }

  /** @param {number} index @returns {Entry} */
  at(index) {
    const number = this.#numberAt(index)
    return { kind: "line", number: number ?? 0, line: number ? this.model.lines.get(number) : undefined }
  }

  /** @param {number} index */
  keyOf(index) {
    const number = this.#numberAt(index)
    return number ? `L${number}` : `M${index}`
  }

  /** @param {string} key */
  indexOf(key) {
    const number = Number(key.slice(1))
    if (key.startsWith("M")) return number
    return key.startsWith("L") ? this.indexNear(number) : -1
  }

  /** The lines in a range that match, as far as this tab knows them: all that it has shown. @param {number} from @param {number} to */
  among(from, to) {
    const tiles = this.finder.tiles.filter((tile) => tile.to >= from && tile.from <= to)
    return new Set(tiles.flatMap((tile) => this.#numbersOf(tile)))
  }

  /** The row of a line that matches, or of the next one that does. @param {number} line */
  indexNear(line) {
    let sum = 0
    for (const tile of this.finder.tiles) {
      if (tile.to >= line) {
        const numbers = this.#numbersOf(tile)
        const place = numbers.findIndex((each) => each >= line)
        // Of a dense tile, only a sample is known: its share is near enough to look there.
        const share = place < 0 ? 1 : place / Math.max(1, numbers.length)
        return Math.min(sum + Math.floor(share * tile.count), Math.max(0, this.count - 1))
      }
      sum += tile.count
    }
    return Math.max(0, this.count - 1)
  }

  /** @param {number} first @param {number} last */
  show(first, last) {
    let sum = 0
    for (const tile of this.finder.tiles) {
      const end = sum + tile.count
      const isInView = end > first && sum <= last
      if (isInView && !isWhole(tile) && !this.#numbers.has(tile)) {
        this.#load(tile.from, tile.to, tile)
        return
      }
      sum = end
    }
    const numbers = []
    for (let index = first; index <= last; index += 1) {
      const number = this.#numberAt(index)
      if (number && !this.model.lines.get(number)) numbers.push(number)
    }
    const [from, to] = [numbers[0], numbers.at(-1)]
    if (from && to) this.#load(from, to, undefined)
  }

  /** @param {number} index */
  #numberAt(index) {
    let sum = 0
    for (const tile of this.finder.tiles) {
      if (index < sum + tile.count) {
        const isKnown = isWhole(tile) || this.#numbers.has(tile)
        return isKnown ? this.#numbersOf(tile)[index - sum] : undefined
      }
      sum += tile.count
    }
    return undefined
  }

  /** @param {Tile} tile */
  #numbersOf(tile) {
    return this.#numbers.get(tile) ?? tile.at
  }

  /**
   * @param {number} from
   * @param {number} to
   * @param {Tile | undefined} tile The one whose matches they are.
   */
  async #load(from, to, tile) {
    const { query } = this.finder
    const range = `from=${from}&to=${to}`
    if (!query || this.#wanted === range) return
    this.#wanted = range
    this.#abort.abort()
    this.#abort = new AbortController()
    const { signal } = this.#abort
    const numbers = []
    try {
      const answer = await this.read(`logs?${parametersOf(query)}&follow=false&${range}`, signal)
      if (answer.body) {
        for await (const objects of objectsOf(answer.body)) {
          if (signal.aborted) return
          this.model.take(objects)
          for (const each of objects) if (each.seq) numbers.push(each.seq)
        }
      }
      if (tile) this.#numbers.set(tile, numbers)
    } catch {
      if (signal.aborted) return
    }
    this.#wanted = ""
    this.loaded()
  }
}
