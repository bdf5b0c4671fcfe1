// What is written on what, in both themes: WCAG 2.2 asks for a contrast of 4.5 (1.4.3), and of 3 for shapes (1.4.11).

import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import test from "node:test"

const css = readFileSync(new URL("../../trio_logs/web/styles/theme.css", import.meta.url), "utf8")
const themes = Object.fromEntries(
  [...css.matchAll(/\[data-theme="(\w+)"\] \{([^}]*)\}/g)].map(([, name, body]) => [
    name,
    Object.fromEntries([...body.matchAll(/--([\w-]+): (#[0-9a-f]{6});/g)].map(([, key, colour]) => [key, colour])),
  ]),
)
const numbered = (letter) => Array.from({ length: 16 }, (_, number) => letter + number)
const grounds = ["bg", "panel", "raised", "accent-bg"]
const PAIRS = [
  // The 16 colours of a log on its background, and on a line that the address points at.
  [numbered("c"), ["bg"], 4.5],
  [["text", "soft", "accent"], [...grounds, "target"], 4.5],
  [["faint"], ["bg", "panel", "raised"], 4.5],
  [["bad", "warn"], ["bg", "panel", "raised"], 4.5],
  [["ok", "bad", "warn", "lost"], grounds, 3],
  [["on-accent"], ["accent"], 4.5],
  [["hit-text"], ["hit"], 4.5],
  [["hit-now-text"], ["hit-now"], 4.5],
  // The default colour on the 16 grounds of a log; two of them are light in both themes.
  [["text"], numbered("g").filter((ground) => !["g7", "g15"].includes(ground)), 4.5],
  [["ink"], ["g7", "g15"], 4.5],
]

/** The relative luminance of WCAG. @param {string} colour */
function luminance(colour) {
  const [red, green, blue] = [1, 3, 5].map((place) => {
    const part = parseInt(colour.slice(place, place + 2), 16) / 255
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
  })
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue
}

function contrast(one, other) {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b)
  return (light + 0.05) / (dark + 0.05)
}

test("the formula is that of WCAG", () => {
  assert.equal(contrast("#000000", "#ffffff"), 21)
  assert.equal(contrast("#767676", "#ffffff").toFixed(2), "4.54")
})

for (const name of ["dark", "light"]) {
  test(`in the ${name} theme, everything can be read`, () => {
    const theme = themes[name]
    const low = []
    for (const [texts, backgrounds, least] of PAIRS) {
      for (const text of texts) {
        for (const background of backgrounds) {
          assert.ok(theme[text] && theme[background], `${text} on ${background} has no colour`)
          const found = contrast(theme[text], theme[background])
          if (found < least) low.push(`${text} on ${background}: ${found.toFixed(2)}`)
        }
      }
    }
    assert.deepEqual(low, [])
  })
}

test("both themes have the same colours", () => {
  assert.deepEqual(Object.keys(themes), ["dark", "light"])
  assert.deepEqual(Object.keys(themes.dark), Object.keys(themes.light))
})
