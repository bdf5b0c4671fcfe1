/** The name of each log among several, and its colour; sans-IO. */

/** Colours of the theme for names: `--n0` to `--n7`. */
export const COLOURS = 8

/**
 * The same text gives the same number, so a log has its colour again tomorrow.
 *
 * @param {string} text
 */
function hash(text) {
  let value = 0x811c9dc5
  // FNV-1a, 32 bits. Source: RFC 9923.
  for (const character of text) value = Math.imul(value ^ (character.codePointAt(0) ?? 0), 0x01000193) >>> 0
  return value
}

/**
 * The name and the number of the colour of each log. A colour comes again only where all are in use.
 *
 * @param {{ id: string, name: string }[]} logs
 * @returns {Map<string, { name: string, colour: number }>} By id.
 */
export function namesOf(logs) {
  /** @type {Set<number>} */
  const used = new Set()
  const found = new Map()
  for (const { id, name } of logs) {
    if (used.size === COLOURS) used.clear()
    let colour = hash(name) % COLOURS
    while (used.has(colour)) colour = (colour + 1) % COLOURS
    used.add(colour)
    // Runs of one command have one name, and differ in their ids.
    const isShared = logs.some((other) => other.id !== id && other.name === name)
    found.set(id, { name: isShared ? `${name} ${id.slice(-4)}` : name, colour })
  }
  return found
}
