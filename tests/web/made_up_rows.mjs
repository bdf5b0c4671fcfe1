// Rows that no program writes, made of all that a row may hold.

/** The same numbers each time. Source: Marsaglia, "Xorshift RNGs". */
export function random(seed) {
  let state = seed * 2654435761 + 1
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

export function madeUp(next) {
  const one = (choices) => choices[next(choices.length)]
  const number = () => one(["", "0", "1", "2", "3", "5", "8", "40"])
  const colours = ["38;5;208", "48;5;17", "38;2;1;2;3", "48:2::9:8:7", "38:5:99", "58;5;3", "38;2;1;2;3;1"]
  // xterm leaves half of a wide character that it shifts, and shows it as nothing.
  const isWide = next(2) === 1
  const words = isWide ? ["日本", "한", "bc "] : ["bc ", "word"]
  const parts = [
    () => one(["a", ...words, "é", "e\u0301", " ", "x".repeat(9), "\t"]),
    () => `\x1b[${one(["", "0", "1", "2", "3", "4", "4:3", "4:0", "7", "8", "9", "21", "22", "24", "27", "31", "39", "44", "49", "53", "55", "92", "103", "1;31;44", ...colours])}m`,
    () => one(["\r", "\b", "\x07", "\x1b[m", "\x1b7", "\x1b8", "\x1b[s", "\x1b[u", "\x1b(B", "\x1b=", "\x1b[?25l", "\x1b[?2004h"]),
    () => `\x1b[${number()}${one([...(isWide ? "CDG`aXKKJEFAB" : "CDG`aXP@KKJEFAB")])}`,
    () => `\x1b[${one(["", "1"])};${number()}H`,
    () => `\x1b]${one(["0;title", "8;;https://example.org/", "8;;", "8;id=1;http://a/b"])}${one(["\x07", "\x1b\\"])}`,
    // Cut short by what follows, or cancelled.
    () => one(["\x1b[1;3", "\x1b]0;cut", "\x1b]8;;http://c/", "\x1bPcut", "\x1b_cut"]) + one(["\x1b[32m", "\x1b\\", "\x1b[m", "\x18", "\x1a"]),
    () => one(["\x1bP+q00\x1b\\", "\x1b_app\x1b\\", "\x1b^pm\x1b\\", "\x1bXsos\x1b\\"]),
  ]
  return Array.from({ length: next(24) }, () => one(parts)()).join("")
}
