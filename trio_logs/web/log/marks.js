/** The places of matches beside the scroll bar. */

/**
 * @param {HTMLCanvasElement} canvas
 * @param {import("./finder.js").Tile[]} tiles
 * @param {(line: number) => number} placeOf Where a line is, as a share of all rows.
 */
export function drawMarks(canvas, tiles, placeOf) {
  const { clientWidth: width, clientHeight: height } = canvas
  const ratio = devicePixelRatio || 1
  canvas.width = width * ratio
  canvas.height = height * ratio
  const context = canvas.getContext("2d")
  if (!context) return
  context.scale(ratio, ratio)
  context.fillStyle = getComputedStyle(canvas).color
  // Many matches share a pixel: draw it once.
  const rows = new Set(tiles.flatMap(({ at }) => at.map((line) => Math.round(placeOf(line) * (height - 2)))))
  for (const row of rows) context.fillRect(0, row, width, 2)
}
