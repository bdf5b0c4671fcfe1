/**
 * How text looks: SGR, "select graphic rendition"; sans-IO.
 *
 * Sources: ECMA-48, section 8.3.117; ISO 8613-6 and xterm's ctlseqs for the colours.
 */

/**
 * A colour is a number: -1 for the theme's own, 0 to 255 of the palette, or RGB + 0x1000000.
 *
 * @typedef {object} Style
 * @property {number} color
 * @property {number} ground
 * @property {number} flags The sum of `BOLD` and the others.
 */

export const BOLD = 1
export const DIM = 2
export const ITALIC = 4
export const UNDERLINE = 8
export const INVERSE = 16
export const HIDDEN = 32
export const STRIKE = 64
export const OVERLINE = 128
export const RGB = 0x1000000

/** @type {Readonly<Style>} */
export const PLAIN = Object.freeze({ color: -1, ground: -1, flags: 0 })

/** What each parameter sets, and what it clears. @type {Record<number, [number, number]>} */
const FLAGS = {
  1: [BOLD, 0],
  2: [DIM, 0],
  3: [ITALIC, 0],
  4: [UNDERLINE, 0],
  7: [INVERSE, 0],
  8: [HIDDEN, 0],
  9: [STRIKE, 0],
  21: [UNDERLINE, 0],
  22: [0, BOLD | DIM],
  23: [0, ITALIC],
  24: [0, UNDERLINE],
  27: [0, INVERSE],
  28: [0, HIDDEN],
  29: [0, STRIKE],
  53: [OVERLINE, 0],
  55: [0, OVERLINE],
}

/**
 * The style after a sequence with these parameters.
 *
 * @param {Readonly<Style>} before
 * @param {string} parameters As written, such as "1;38;5;208" or "38:2::255:0:0".
 * @returns {Readonly<Style>}
 */
export function styled(before, parameters) {
  let { color, ground, flags } = before
  const given = parameters.split(";")
  for (let place = 0; place < given.length; place += 1) {
    const [first, ...parts] = (given[place] ?? "").split(":")
    const code = Number(first)
    const change = FLAGS[code]
    if (code === 0) [color, ground, flags] = [-1, -1, 0]
    else if (code === 4 && parts[0] === "0") flags &= ~UNDERLINE
    else if (change) flags = (flags | change[0]) & ~change[1]
    else if (code >= 30 && code <= 37) color = code - 30
    else if (code >= 90 && code <= 97) color = code - 82
    else if (code === 39) color = -1
    else if (code >= 40 && code <= 47) ground = code - 40
    else if (code >= 100 && code <= 107) ground = code - 92
    else if (code === 49) ground = -1
    else if (code === 38 || code === 48 || code === 58) {
      // With colons, the numbers are the parameter's own; else, they are the parameters that follow.
      const numbers = parts.length ? parts : given.slice(place + 1)
      const [value, taken] = colorOf(numbers, parts.length > 0)
      if (!parts.length) place += taken
      if (value !== undefined && code === 38) color = value
      if (value !== undefined && code === 48) ground = value
    }
  }
  return { color, ground, flags }
}

/**
 * The colour that some numbers stand for, if they are complete, and how many of them it takes.
 *
 * @param {string[]} numbers
 * @param {boolean} isOwn Whether a colour space may come before the three numbers.
 * @returns {[number | undefined, number]}
 */
function colorOf(numbers, isOwn) {
  if (numbers[0] === "5") return [byte(numbers[1]), 2]
  if (numbers[0] !== "2") return [undefined, 1]
  const start = isOwn && numbers.length > 4 ? 2 : 1
  const [red, green, blue] = [0, 1, 2].map((place) => byte(numbers[start + place]))
  if (red === undefined || green === undefined || blue === undefined) return [undefined, 4]
  return [RGB + red * 65536 + green * 256 + blue, 4]
}

/** @param {string | undefined} number */
function byte(number) {
  const value = Number(number)
  return number !== undefined && value <= 255 ? value : undefined
}

/**
 * @param {Readonly<Style>} one
 * @param {Readonly<Style>} other
 */
export function isSame(one, other) {
  return one.color === other.color && one.ground === other.ground && one.flags === other.flags
}
