/**
 * The lines of a log that match, found by the service.
 *
 * It answers with tiles: ranges of lines, each with the number of its matches, and with all of them or
 * a sample. So the place of a match among all is known, and only a dense tile needs another request.
 */

import { objectsOf } from "../wire/ndjson.js"

/** @typedef {{ find: string, matchCase: boolean, isRegex: boolean, stream: string }} Query All lines of the stream if `find` is empty. */
/** @typedef {{ from: number, to: number, count: number, at: number[] }} Tile */

/** @param {Query} query */
export function parametersOf({ find, matchCase, isRegex, stream }) {
  // No line has a line feed, so all lines are without one; this search is the fastest there is.
  const parameters = new URLSearchParams(find ? { filter: find, case: String(matchCase) } : { filter: "\n", invert: "true" })
  if (isRegex) parameters.set("regex", "true")
  if (stream) parameters.set("stream", stream)
  return parameters.toString()
}

export class Finder {
  /** @type {Tile[]} */
  tiles = []
  count = 0
  /** The last line that was looked at. */
  searched = 0
  isSearching = false
  /** Milliseconds that the last search took. */
  took = 0
  /** Why it can't search, in words. */
  error = ""
  #abort = new AbortController()
  /** @type {Query | undefined} */
  query = undefined

  /**
   * @param {(path: string, signal: AbortSignal) => Promise<Response>} read `path` follows the log's own.
   * @param {() => void} changed
   */
  constructor(read, changed) {
    this.read = read
    this.changed = changed
  }

  close() {
    this.#abort.abort()
  }

  /**
   * Search all lines. What an earlier search found is gone.
   *
   * @param {Query | undefined} query None ends the search.
   */
  async search(query) {
    this.#abort.abort()
    this.#abort = new AbortController()
    this.query = query
    this.tiles = []
    this.count = 0
    this.searched = 0
    this.error = ""
    this.isSearching = false
    if (query) await this.#run(query, this.#abort.signal)
    else this.changed()
  }

  /** Search the lines that came since. @param {number} head */
  async extend(head) {
    if (this.query && !this.isSearching && !this.error && head > this.searched) {
      await this.#run(this.query, this.#abort.signal)
    }
  }

  /**
   * Add lines that were looked at elsewhere.
   *
   * @param {Tile} tile It names all of its matches, and follows what was searched.
   * @param {number} most Matches of a tile, past which the next one begins.
   */
  append(tile, most) {
    const last = this.tiles.at(-1)
    if (last && isWhole(last) && last.count + tile.count <= most) {
      last.at.push(...tile.at)
      last.count += tile.count
      last.to = tile.to
    } else this.tiles.push(tile)
    this.count += tile.count
    this.searched = tile.to
  }

  /** @param {Query} query @param {AbortSignal} signal */
  async #run(query, signal) {
    const start = performance.now()
    this.isSearching = true
    this.changed()
    try {
      const answer = await this.read(`matches?${parametersOf(query)}&from=${this.searched + 1}`, signal)
      if (answer.body) {
        for await (const objects of objectsOf(answer.body)) {
          if (signal.aborted) return
          for (const each of objects) this.#take(each)
          this.changed()
        }
      }
    } catch (error) {
      if (signal.aborted) return
      this.error = error instanceof Error ? error.message : String(error)
    }
    if (signal.aborted) return
    this.isSearching = false
    this.took = performance.now() - start
    this.changed()
  }

  /** @param {any} object */
  #take(object) {
    if (object.event === "end") this.searched = Math.max(this.searched, object.lines)
    if (object.at === undefined) return
    this.tiles.push(object)
    this.count += object.count
    this.searched = object.to
  }

  /**
   * The next match after a line, or the first of all.
   *
   * @param {number} line
   */
  async after(line) {
    return (await this.#first(line + 1, this.tiles)) ?? (await this.#first(1, this.tiles))
  }

  /** The last match before a line, or the last of all. @param {number} line */
  async before(line) {
    const backwards = this.tiles.toReversed()
    return (await this.#last(line - 1, backwards)) ?? (await this.#last(Infinity, backwards))
  }

  /** How many matches there are up to this line, itself included. @param {number} line */
  async ordinalOf(line) {
    let sum = 0
    for (const tile of this.tiles) {
      if (tile.from > line) break
      if (tile.to <= line) sum += tile.count
      else if (isWhole(tile)) sum += tile.at.filter((each) => each <= line).length
      else sum += await this.#countIn(tile.from, line)
    }
    return sum
  }

  /** @param {number} from @param {Tile[]} tiles */
  async #first(from, tiles) {
    for (const tile of tiles) {
      if (tile.to < from || !tile.count) continue
      if (!isWhole(tile)) {
        const found = await this.#ask(`from=${Math.max(from, tile.from)}&limit=1`)
        if (found) return found
        continue
      }
      const found = tile.at.find((each) => each >= from)
      if (found) return found
    }
    return undefined
  }

  /** @param {number} to @param {Tile[]} tiles */
  async #last(to, tiles) {
    for (const tile of tiles) {
      if (tile.from > to || !tile.count) continue
      if (!isWhole(tile)) {
        const found = await this.#ask(`from=${tile.from}&to=${Math.min(to, tile.to)}&tail=1`)
        if (found) return found
        continue
      }
      const found = tile.at.findLast((each) => each <= to)
      if (found) return found
    }
    return undefined
  }

  /** The number of the one line that an answer has. @param {string} range @returns {Promise<number | undefined>} */
  async #ask(range) {
    if (!this.query) return undefined
    const path = `logs?${parametersOf(this.query)}&follow=false&${range}`
    const answer = await this.read(path, this.#abort.signal)
    if (answer.body) {
      for await (const objects of objectsOf(answer.body)) {
        const found = objects.find((each) => each.seq !== undefined)
        if (found) return found.seq
      }
    }
    return undefined
  }

  /** @param {number} from @param {number} to */
  async #countIn(from, to) {
    let sum = 0
    if (!this.query) return sum
    const answer = await this.read(`matches?${parametersOf(this.query)}&from=${from}&to=${to}`, this.#abort.signal)
    if (answer.body) {
      for await (const objects of objectsOf(answer.body)) {
        for (const each of objects) if (each.at) sum += each.count
      }
    }
    return sum
  }
}

/** Whether a tile names all of its matches. @param {Tile} tile */
export const isWhole = ({ count, at }) => count === at.length
