/** The frame of the page: its head, the list, and what shows beside it. */

import { isRefused, READ_ONLY } from "./actions.js"
import { formatAddress, parseAddress, withLogs } from "./address.js"
import { say } from "./ask.js"
import { make, setText } from "./element.js"
import { nameOf } from "./format.js"
import { icon } from "./icons.js"
import { listen, showKeys } from "./keys.js"
import { WorkloadList } from "./list/list.js"
import { openRunDialog } from "./list/run_dialog.js"
import { disable } from "./log/header.js"
import { SearchPage } from "./search/search_page.js"
import { MergedView } from "./several/merged_view.js"
import { Panes } from "./several/panes.js"
import { switchTheme } from "./theme.js"
import { offerReload } from "./upgrade.js"
import { Connection } from "./wire/connection.js"

/** @typedef {import("./address.js").Place} Place */
/** @typedef {import("./format.js").Workload} Workload */
/** @typedef {import("./wire/follower.js").State} State */
/** @typedef {Panes | MergedView | SearchPage} Shown What is beside the list. */

const WIDE = matchMedia("(min-width: 641px)")
const MARKS = { queued: "◌", running: "●", succeeded: "✓", failed: "✗", stopped: "■", timed_out: "◷", lost: "△" }
/** The one worker of this tab, over all sign-ins. @type {Connection | undefined} */
let connection
/** @type {Page | undefined} The page that shows. */
let current

export class Page {
  /** @type {Shown | undefined} */
  shown = undefined
  place = parseAddress(location)

  /** @param {import("./session.js").Session} session */
  constructor(session) {
    this.session = session
    if (!connection) {
      connection = new Connection((state, key) => current?.turn(state, key))
      listen(() => current?.keys() ?? [])
      // Only then has the browser itself scrolled to the row of the address, if that is an element.
      addEventListener("popstate", () => setTimeout(() => current?.show(parseAddress(location))))
    }
    current = this
    this.state = make("span", { role: "status", "aria-label": "Connection", class: "state" })
    this.turn("connecting")
    this.list = new WorkloadList(
      session,
      connection,
      (isEmpty) => this.#listed(isEmpty),
      (workload) => this.shown?.hear(workload),
      (id) => this.shown instanceof Panes && this.shown.lose(id),
    )
    this.run = make("button", { type: "button", class: "button edge", onclick: () => this.#run() }, icon("plus"), make("span", {}, "Run"))
    disable(this.run, session.isReadOnly ? READ_ONLY : "")
    this.main = make("main", {})
    this.element = make(
      "div",
      { class: "page" },
      make(
        "header",
        { class: "top" },
        make("a", { class: "brand", href: "/" }, "trio-logs"),
        make("span", { class: "host wide" }, location.host),
        session.isReadOnly ? make("span", { class: "plain wide" }, "read-only") : "",
        make("span", { class: "grow" }),
        this.state,
        make("button", { type: "button", class: "button icon-only", "aria-label": "Theme", title: "Theme", onclick: switchTheme }, icon("theme")),
        make("button", { type: "button", class: "button icon-only", "aria-label": "Sign out", title: "Sign out", onclick: () => session.signOut() }, icon("out")),
        this.run,
      ),
      this.list.element,
      this.main,
    )
    this.element.addEventListener("click", (event) => this.#clicked(event))
    this.list.refresh()
  }

  close() {
    this.shown?.close()
    this.list.close()
    if (current === this) current = undefined
  }

  /** Show what an address says. @param {Place} place */
  show(place) {
    this.place = place
    this.element.dataset.page = place.page
    this.list.select(place.ids)
    this.list.allLogs.href = formatAddress({ ...place, page: "search", target: undefined })
    const { shown } = this
    if (shown?.suits(place)) return shown.show(place)
    shown?.close()
    this.shown = undefined
    this.main.replaceChildren()
    this.#entitle()
    if (place.page === "list") this.#listed(this.list.isEmpty)
    else this.#open(place)
  }

  /** @param {State} state @param {string} [key] That of the stream. */
  turn(state, key = this.session.key) {
    if (key !== this.session.key) {
      // One of the tabs has yet to learn of a sign-in: this one, or the one that opened the stream.
      if (!this.session.reread()) connection?.resume()
      return
    }
    if (state === "live" && this.state.dataset.state === "reconnecting") offerReload()
    this.state.dataset.state = state
    setText(this.state, state === "gone" || state === "ended" ? "live" : state)
    if (state === "signed out") this.session.forget(key)
  }

  /** Change the address; a step is one that Back goes back over. @param {Partial<Place>} changes */
  #go(changes, isStep = false) {
    // Beside the list, the newest log shows without being in the address: a change of its view needs it there.
    const isBeside = this.place.page === "list" && this.shown instanceof Panes
    const place = { ...(isBeside ? withLogs(this.place, this.shown?.ids ?? []) : this.place), ...changes }
    const address = formatAddress(place)
    if (isStep) history.pushState(null, "", address)
    else history.replaceState(null, "", address)
    this.show(place)
  }

  /** @param {Place} place */
  #open(place) {
    const frame = {
      session: this.session,
      connection: this.list.connection,
      go: (/** @type {Partial<Place>} */ changes, /** @type {boolean | undefined} */ isStep) => this.#go(changes, isStep),
      openKeys: () => showKeys(this.keys()),
      entitle: (/** @type {Workload} */ workload, /** @type {number} */ others) => this.#entitle(workload, others),
      known: (/** @type {string} */ id) => this.list.workloads.find((workload) => workload.id === id),
      started: (/** @type {string[]} */ ids) => this.#started(ids),
      removed: (/** @type {string[]} */ ids) => this.#removed(ids),
    }
    const shown = new (kindOf(place))(place, frame)
    this.shown = shown
    this.main.replaceChildren(shown.element)
    shown.open()
    if (WIDE.matches) shown.focus()
  }

  /** Name the tab after a log, or after none. @param {Workload} [workload] @param {number} [others] Logs beside it. */
  #entitle(workload, others = 0) {
    document.title = workload ? `${MARKS[workload.status]} ${nameOf(workload)}${others ? ` + ${others}` : ""}` : "trio-logs"
    const icons = document.querySelector("link[rel=icon]")
    const address = `/page/icons/${workload?.status ?? "list"}.svg`
    if (icons && icons.getAttribute("href") !== address) icons.setAttribute("href", address)
  }

  /** @param {boolean} isEmpty */
  async #listed(isEmpty) {
    if (this.place.page !== "list" || this.shown) return
    if (isEmpty) this.main.replaceChildren(emptyState())
    else this.main.querySelector(".empty")?.remove()
    const newest = WIDE.matches && (await this.list.newest())
    if (!newest || this.place.page !== "list" || this.shown) return
    this.#open({ ...withLogs(this.place, [newest.id]), page: "log" })
    this.list.select([newest.id])
  }

  #run() {
    if (!isRefused(this.session)) openRunDialog(this.session, (workload) => this.#started([workload.id]))
  }

  /** @param {string[]} ids */
  #started(ids) {
    this.list.refresh()
    this.#go({ ...withLogs(this.place, ids), target: undefined, find: "", only: false }, true)
  }

  /** @param {string[]} ids */
  #removed(ids) {
    say("The workload is deleted.")
    this.list.refresh()
    this.#go({ ...withLogs(this.place, ids), target: undefined }, true)
  }

  /** @returns {import("./keys.js").Key[]} */
  keys() {
    const { shown } = this
    const go = async (/** @type {1 | -1} */ step) => {
      const workload = await this.list.beside(step, shown?.activeId)
      if (workload) this.#go({ ...withLogs(this.place, shown?.instead(workload.id) ?? [workload.id]), target: undefined }, true)
    }
    return [
      ...(shown?.keys() ?? []),
      [["["], "previous workload", () => go(-1)],
      [["]"], "next workload", () => go(1)],
      [["c"], "run a new workload", () => this.#run()],
      [["?"], "show the keys", () => showKeys(this.keys())],
    ]
  }

  /** A plain click on a link of the page changes what shows; any other is the browser's. @param {MouseEvent} event */
  #clicked(event) {
    const link = /** @type {Element} */ (event.target).closest?.("a")
    const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey
    if (!link || !isPlain || event.defaultPrevented || link.target || link.origin !== location.origin) return
    event.preventDefault()
    const { wrap, times } = this.place
    const place = parseAddress(new URL(link.href))
    const [id] = place.ids
    if (id && this.shown?.isSplit && this.list.element.contains(link)) {
      const ids = this.shown.chosen(id)
      if (ids.join() !== this.shown.ids.join()) this.#go(withLogs(this.place, ids), true)
    }
    // How rows look goes with a person from log to log.
    else this.#go({ ...place, wrap, times }, true)
  }
}

/** @param {Place} place */
function kindOf({ page, isMerged, ids }) {
  if (page === "search") return SearchPage
  return isMerged && ids.length > 1 ? MergedView : Panes
}

function emptyState() {
  return make(
    "div",
    { class: "empty" },
    make("p", {}, "Nothing has run yet. Start something in a terminal, or press ", make("kbd", { class: "wide" }, "c"), make("b", { class: "narrow" }, "Run"), "."),
    make("pre", {}, "trio-logs run --name build -- make test\nmake test 2>&1 | trio-logs pipe --name build"),
  )
}
