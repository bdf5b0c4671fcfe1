/** Copying the text of selected rows of several logs, also of rows that are no elements. */

import { placeIn, rowOf, selectWhileScrolling } from "../log/selection.js"
import { textOf } from "../rows/paint.js"

/**
 * @param {HTMLElement} scroller
 * @param {import("../scroll/list.js").VirtualList} list
 * @param {import("./merged_rows.js").MergedRows} rows
 * @param {AbortSignal} signal Ends it.
 */
export function copyMerged(scroller, list, rows, signal) {
  const selected = () => {
    const selection = getSelection()
    const ends = [selection?.anchorNode, selection?.focusNode].map((node) => rowOf(node ?? null, scroller)?.dataset.key ?? "")
    const [from, to] = ends.map((key) => rows.indexOf(key)).sort((one, other) => one - other)
    if (!selection || from === undefined || to === undefined || from < 0) return undefined
    return { selection, ends, from, to }
  }

  document.addEventListener("selectionchange", () => list.pin(new Set(selected()?.ends)), { signal })
  selectWhileScrolling(scroller, signal)
  scroller.addEventListener("copy", (event) => {
    const found = selected()
    if (!found || found.from === found.to) return
    const range = found.selection.getRangeAt(0)
    const texts = []
    for (let index = found.from; index <= found.to; index += 1) {
      const row = rows.rowAt(index)
      if (row?.kind === "line") texts.push(textOf(rows.parsed(row).runs))
    }
    const [head, tail] = [placeIn(range.startContainer, range.startOffset, texts[0] ?? ""), placeIn(range.endContainer, range.endOffset, texts.at(-1) ?? "")]
    if (tail !== undefined) texts.push((texts.pop() ?? "").slice(0, tail))
    if (head) texts[0] = (texts[0] ?? "").slice(head)
    event.clipboardData?.setData("text/plain", texts.join("\n"))
    event.preventDefault()
  })
}
