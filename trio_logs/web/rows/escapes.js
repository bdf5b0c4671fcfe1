/**
 * The characters and escape sequences of a text, in their order; sans-IO.
 *
 * Sources: ECMA-48, sections 5 and 8; for the strings, xterm's ctlseqs.
 */

/**
 * What becomes of each part of a text.
 *
 * @typedef {object} Screen
 * @property {(text: string) => void} print Text without control characters.
 * @property {(code: number) => void} control A C0 character but ESC, such as 8 for a backspace.
 * @property {(final: string, parameters: string, intermediates: string) => void} sequence
 *   A CSI sequence; `parameters` as written, such as "1;31".
 * @property {(final: string, intermediates: string) => void} escape Any other short sequence.
 * @property {(text: string) => void} command An OSC string, without its ends.
 */

// One sequence. A string ends at its terminator, or where the next sequence starts; CAN and SUB cancel
// it. What ends nowhere comes last: a terminal waits for its end.
const SEQUENCE = new RegExp(
  [
    String.raw`\x1b\[([0-?]*)([ -/]*)([@-~])`,
    String.raw`\x1b\]([^\x07\x18\x1a\x1b]*)(?:\x07|\x1b\\|(?=\x1b.))`,
    String.raw`\x1b[PX^_\]][^\x18\x1a\x1b]*(?:[\x18\x1a]|\x1b\\|(?=\x1b.))`,
    String.raw`\x1b([ -/]*)([0-OQ-WYZ\\\x60-~])`,
    String.raw`\x1b\[[0-?]*[ -/]*`,
    String.raw`\x1b[PX^_\]][^]*`,
    String.raw`\x1b`,
  ].join("|"),
  "y",
)
const CONTROL = /[\x00-\x1f\x7f-\x9f]/g

/**
 * Feed a text to a screen.
 *
 * @param {string} text
 * @param {Screen} screen
 */
export function feed(text, screen) {
  let place = 0
  while (place < text.length) {
    CONTROL.lastIndex = place
    const next = CONTROL.exec(text)?.index ?? text.length
    if (next > place) screen.print(text.slice(place, next))
    if (next === text.length) return
    const code = text.charCodeAt(next)
    if (code !== 0x1b) {
      if (code < 0x20) screen.control(code)
      place = next + 1
      continue
    }
    SEQUENCE.lastIndex = next
    const found = /** @type {RegExpExecArray} */ (SEQUENCE.exec(text))
    const [, parameters, intermediates, final, command, others, end] = found
    if (final !== undefined) screen.sequence(final, parameters ?? "", intermediates ?? "")
    else if (command !== undefined) screen.command(command)
    else if (end !== undefined) screen.escape(end, others ?? "")
    place = SEQUENCE.lastIndex
  }
}
