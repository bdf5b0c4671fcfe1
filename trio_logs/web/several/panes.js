/** Logs side by side, or one alone: which they are, how wide, and which one the keys are for. */

import * as actions from "../actions.js"
import { formatAddress, withLogs } from "../address.js"
import { askForLine } from "../ask.js"
import { make } from "../element.js"
import { button } from "../log/header.js"
import { keysOf } from "../log/log_keys.js"
import { press } from "../log/tools.js"
import { LogView } from "../log/view.js"
import { Bar } from "./bar.js"
import { Widths } from "./widths.js"

/** @typedef {import("../address.js").Place} Place */
/** @typedef {import("../format.js").Workload} Workload */

/**
 * @typedef {object} Frame What the views need of the page.
 * @property {import("../session.js").Session} session
 * @property {import("../wire/connection.js").Connection} connection
 * @property {(changes: Partial<Place>, isStep?: boolean) => void} go Changes the address.
 * @property {() => void} openKeys
 * @property {(id: string) => Workload | undefined} known The record of a workload, if the list has it.
 * @property {(workload: Workload, others: number) => void} entitle Names the tab after a log, and counts the others.
 * @property {(ids: string[]) => void} started Shows these logs, of which one is new.
 * @property {(ids: string[]) => void} removed Likewise, after one of them was deleted.
 */

export class Panes {
  /** In the order of the address. @type {LogView[]} */
  views = []
  /** The view that the keys and the tools are for. @type {LogView | undefined} */
  #active = undefined
  /** Whether one log waits for another beside it. */
  #isWaiting = false
  #widths = new Widths()

  /**
   * @param {Place} place
   * @param {Frame} frame
   */
  constructor(place, frame) {
    this.frame = frame
    /** @type {Place} */
    this.place = { ...place, target: undefined }
    this.tools = make("div", { class: "shared-tools" })
    this.strip = make("div", { class: "strip" })
    this.bar = new Bar({ isMerged: false, merge: (isMerged) => frame.go({ isMerged }, true), openKeys: frame.openKeys })
    this.element = make("div", { class: "panes" }, this.tools, this.strip, this.bar.element)
    this.choice = make(
      "div",
      { class: "view choice" },
      make("p", {}, "Choose a workload in the list to show it here."),
      make("button", { type: "button", class: "button edge", onclick: () => this.#split(false) }, "Cancel"),
    )
    this.show(place)
  }

  /** Whether these panes can show a place, or new ones must. @param {Place} place */
  suits({ page, isMerged, ids }) {
    return page === "log" && !(isMerged && ids.length > 1) && this.ids.some((id) => ids.includes(id))
  }

  /** @param {Place} place */
  show(place) {
    const isAimed = aimOf(place) !== aimOf(this.place)
    this.place = place
    const ids = [...new Set(place.ids)]
    const kept = this.views.filter(({ id }) => ids.includes(id))
    for (const view of this.views) if (!kept.includes(view)) this.#drop(view)
    for (const view of kept) view.show(place)
    this.views = ids.map((id) => kept.find((view) => view.id === id) ?? this.#open(id))
    if (ids.length > 1) this.#isWaiting = false
    this.#arrange()
    if (this.element.isConnected) for (const view of this.views) if (!kept.includes(view)) view.open()
    const aimed = isAimed ? this.views.find(({ id }) => id === place.target?.id) : undefined
    const added = kept.length ? this.views.find((view) => !kept.includes(view)) : undefined
    added?.element.scrollIntoView({ inline: "nearest", block: "nearest" })
    this.#activate(aimed ?? added ?? this.#active ?? this.views[0])
  }

  close() {
    for (const view of this.views) this.#drop(view)
    this.views = []
  }

  /** The record of a workload has changed. @param {Workload} workload */
  hear(workload) {
    this.views.find(({ id }) => id === workload.id)?.setWorkload(workload)
  }

  /** A workload was deleted. @param {string} id */
  lose(id) {
    this.views.find((view) => view.id === id)?.setDeleted()
  }

  get ids() {
    return this.views.map(({ id }) => id)
  }

  get isSplit() {
    return this.#isWaiting || this.views.length > 1
  }

  /** Fetch what shows, once the elements are in the document. */
  open() {
    for (const view of this.views) view.open()
  }

  /** Give the log the focus, for the keys of the browser. */
  focus() {
    this.#active?.scroller.focus({ preventScroll: true })
  }

  /** The logs that show once somebody has chosen this one in the list. @param {string} id */
  chosen(id) {
    const rest = this.ids.filter((each) => each !== id)
    if (!rest.length) return this.ids
    return rest.length < this.views.length ? rest : [...rest, id]
  }

  /** The logs that show once this one takes the place of the active one. @param {string} id */
  instead(id) {
    return [...new Set(this.ids.map((each) => (each === this.#active?.id ? id : each)))]
  }

  /** The log that the keys are for. */
  get activeId() {
    return this.#active?.id ?? ""
  }

  /** @returns {import("../keys.js").Key[]} */
  keys() {
    const view = this.#active
    return view ? keysOf(view, () => askForLine((line) => view.goTo(line)), () => this.#link()) : []
  }

  /** The address of what shows, with the line at the top of the active log if that is not its end. */
  #link() {
    const view = this.#active
    const place = withLogs(this.place, this.ids)
    const from = view && !view.list.isFollowing ? view.topLine : 0
    const target = place.target ?? (from && view ? { id: this.views.length > 1 ? view.id : "", from, to: from } : undefined)
    return location.origin + formatAddress({ ...place, target })
  }

  /** @param {string} id */
  #open(id) {
    const { session, started, removed } = this.frame
    const view = new LogView(id, this.place, {
      ...this.frame,
      changed: () => this.#changed(),
      actions: {
        stop: () => view.workload && actions.stop(session, view.workload),
        rerun: async () => {
          const workload = view.workload && (await actions.rerun(session, view.workload))
          if (workload) started(this.ids.map((each) => (each === id ? workload.id : each)))
        },
        remove: async () => {
          if (view.workload && (await actions.remove(session, view.workload))) removed(this.ids.filter((each) => each !== id))
        },
        download: () => view.workload && actions.download(session, view.workload),
        copyLink: () => actions.copy(this.#link()),
      },
    })
    view.tools.split.addEventListener("click", () => this.#split(!this.isSplit))
    view.header.element.append(button("Close", "close", () => this.#closePane(id), "button quiet close"))
    for (const kind of ["focusin", "pointerdown"]) view.element.addEventListener(kind, () => this.#activate(view))
    return view
  }

  /** @param {LogView} view */
  #drop(view) {
    if (view === this.#active) this.#active = undefined
    view.close()
    view.element.remove()
  }

  /** @param {boolean} isOn */
  #split(isOn) {
    this.#isWaiting = isOn
    if (!isOn && this.views.length > 1) this.frame.go(withLogs(this.place, [this.activeId]), true)
    else this.#arrange()
    // The tools have another place now.
    this.#active?.tools.split.focus()
  }

  /** @param {string} id */
  #closePane(id) {
    this.frame.go(withLogs(this.place, this.ids.filter((each) => each !== id)), true)
  }

  /** Have the panes in their order, with a divider between two of them. */
  #arrange() {
    this.element.classList.toggle("several", this.isSplit)
    this.element.classList.toggle("waiting", this.#isWaiting)
    this.bar.element.hidden = !this.isSplit
    const wanted = this.#widths.arrange(this.views)
    if (this.#isWaiting) wanted.push(this.choice)
    const isKept = (/** @type {Element} */ each) => wanted.includes(/** @type {HTMLElement} */ (each))
    for (const element of [...this.strip.children]) if (!isKept(element)) element.remove()
    // An element that moves loses its scroll position, so none moves that has its place.
    for (const [place, element] of wanted.entries()) {
      if (this.strip.children[place] !== element) this.strip.insertBefore(element, this.strip.children[place] ?? null)
    }
    for (const view of this.views) {
      const numbers = view.element.querySelector(".numbers")
      if (numbers && this.isSplit) view.header.meta.after(numbers)
      else if (numbers) view.footer.element.prepend(numbers)
      press(view.tools.split, this.isSplit)
    }
    this.#placeTools()
    this.#changed()
  }

  /** @param {LogView | undefined} view */
  #activate(view) {
    if (!view || view === this.#active) return
    this.#active = view
    for (const each of this.views) each.element.classList.toggle("active", each === view)
    this.#placeTools()
    this.#changed()
  }

  /** One bar of tools serves all panes: that of the active one. */
  #placeTools() {
    for (const { header, tools: { element } } of this.isSplit ? [] : this.views) {
      if (header.element.nextElementSibling !== element) header.element.after(element)
    }
    const shown = this.isSplit ? this.#active?.tools.element : undefined
    for (const { tools: { element } } of this.isSplit ? this.views : []) if (element !== shown) element.remove()
    if (shown?.parentElement !== this.tools) this.tools.replaceChildren(...(shown ? [shown] : []))
  }

  #changed() {
    this.bar.show(this.views.map(({ workload }) => workload))
    this.#widths.name()
    const workload = this.#active?.workload
    if (workload) this.frame.entitle(workload, this.views.length - 1)
  }
}

/** The lines that an address points at, with their log. @param {Place} place */
function aimOf({ target, ids }) {
  return target && `${target.id || ids[0]}:${target.from}-${target.to}`
}
