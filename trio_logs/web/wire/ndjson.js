/** Objects of a body with one JSON text a line. */

/**
 * The objects of each piece of a body, as it arrives. What a cut leaves of the last line is dropped:
 * the client asks for it again.
 *
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<any[], void>}
 */
export async function* objectsOf(body) {
  const decoder = new TextDecoder()
  const reader = body.getReader()
  let rest = ""
  try {
    while (true) {
      const { done, value } = await reader.read()
      if (done) return
      const lines = (rest + decoder.decode(value, { stream: true })).split("\n")
      rest = lines.pop() ?? ""
      if (lines.length) yield lines.filter(Boolean).map((line) => JSON.parse(line))
    }
  } finally {
    // A reader that stops early must not leave the answer open.
    reader.cancel().catch(() => {})
  }
}
