/** Closing and opening the sections of a log. */

import { SectionSearch } from "./section_search.js"
import { showExtent } from "./section_row.js"

export class Folds {
  /**
   * @param {import("./view.js").LogView} view
   * @param {(path: string, signal: AbortSignal) => Promise<Response>} read
   */
  constructor(view, read) {
    this.view = view
    this.search = new SectionSearch(view.model, read, () => view.list.refresh())
    const { scroller } = view
    scroller.addEventListener("click", ({ target }) => {
      const line = lineOf(/** @type {Element} */ (target).closest?.("button.fold"))
      if (line) this.toggle(line)
    })
  }

  close() {
    this.search.close()
  }

  /** Lines have come, or are there at first. */
  grew() {
    this.search.grew()
  }

  /** Have the rows that show say whether their sections are open. */
  mark() {
    const { sections, head } = this.view.model
    for (const row of this.view.list.rows.querySelectorAll(".section")) {
      const section = sections.at(Number(/** @type {HTMLElement} */ (row).dataset.line))
      if (section) showExtent(/** @type {HTMLElement} */ (row), section, sections.isClosed(section.from), head)
    }
  }

  /** Close a section, or open it; its title stays where it is. @param {number} line The title's. */
  toggle(line) {
    const { list, rows, model } = this.view
    const place = () => list.elementOf(rows.indexOfLine(line))?.getBoundingClientRect().top
    const before = place()
    model.sections.fold(line, !model.sections.isClosed(line))
    list.render()
    const after = place()
    list.scrollBy((after ?? 0) - (before ?? after ?? 0))
  }

  /** Close the section at the top of the view, or open it. */
  toggleHere() {
    const { topLine, model, list, rows } = this.view
    const { last } = list.visible()
    const bottom = rows.lineAt(last)
    const inView = () => model.sections.foldable().find(({ from }) => from >= topLine && from <= bottom)
    const section = model.sections.isClosed(topLine) ? model.sections.at(topLine) : model.sections.around(topLine).at(-1) ?? inView()
    if (!section || rows.some) return
    if (section.from < topLine) list.reveal(rows.indexOfLine(section.from), { always: true, part: 0 })
    this.toggle(section.from)
  }

  /** Close all sections, or open all if all are closed. */
  toggleAll() {
    const { model, list } = this.view
    const all = model.sections.foldable()
    const isClosing = all.some(({ from }) => !model.sections.isClosed(from))
    for (const { from } of all) model.sections.fold(from, isClosing)
    list.render()
    // The bar says where that is.
    list.scrollBy(0)
  }
}

/** The line of the row that an element is in. @param {Element | null | undefined} element */
function lineOf(element) {
  return Number(/** @type {HTMLElement | null | undefined} */ (element?.closest("[data-line]"))?.dataset.line ?? 0)
}
