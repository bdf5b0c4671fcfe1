/** The frame of the page: its head, the list, and the log beside it. */

import * as actions from "./actions.js"
import { formatAddress, parseAddress } from "./address.js"
import { askForLine, say } from "./ask.js"
import { make, setText } from "./element.js"
import { nameOf } from "./format.js"
import { icon } from "./icons.js"
import { listen, showKeys } from "./keys.js"
import { WorkloadList } from "./list/list.js"
import { openRunDialog } from "./list/run_dialog.js"
import { disable } from "./log/header.js"
import { keysOf } from "./log/log_keys.js"
import { LogView } from "./log/view.js"
import { switchTheme } from "./theme.js"
import { offerReload } from "./upgrade.js"
import { Connection } from "./wire/connection.js"

/** @typedef {import("./address.js").Place} Place */
/** @typedef {import("./format.js").Workload} Workload */
/** @typedef {import("./wire/follower.js").State} State */

const WIDE = matchMedia("(min-width: 641px)")
const MARKS = { queued: "◌", running: "●", succeeded: "✓", failed: "✗", stopped: "■", timed_out: "◷", lost: "△" }
/** The one worker of this tab, over all sign-ins. @type {Connection | undefined} */
let connection
/** @type {Page | undefined} The page that shows. */
let current

export class Page {
  /** The logs that show, side by side. @type {LogView[]} */
  views = []
  place = parseAddress(location)

  /** @param {import("./session.js").Session} session */
  constructor(session) {
    this.session = session
    if (!connection) {
      connection = new Connection((state, key) => current?.turn(state, key))
      listen(() => current?.keys() ?? [])
      addEventListener("popstate", () => current?.show(parseAddress(location)))
    }
    current = this
    this.state = make("span", { role: "status", "aria-label": "Connection", class: "state" })
    this.turn("live")
    this.list = new WorkloadList(
      session,
      connection,
      (isEmpty) => this.#listed(isEmpty),
      (workload) => this.views.find(({ id }) => id === workload.id)?.setWorkload(workload),
    )
    this.run = make("button", { type: "button", class: "button edge", onclick: () => this.#run() }, icon("plus"), make("span", {}, "Run"))
    disable(this.run, session.isReadOnly ? actions.READ_ONLY : "")
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
    for (const view of this.views) view.close()
    this.list.close()
    if (current === this) current = undefined
  }

  /** Show what an address says. @param {Place} place */
  show(place) {
    const before = this.place
    this.place = place
    this.element.dataset.page = place.page
    this.list.select(place.ids)
    if (place.ids.length && place.ids.join() === this.views.map(({ id }) => id).join()) {
      for (const view of this.views) view.show(place)
      return
    }
    for (const view of this.views) view.close()
    this.views = []
    this.main.replaceChildren()
    this.main.classList.toggle("split", place.ids.length > 1)
    document.title = "trio-logs"
    if (place.ids.length) for (const id of new Set(place.ids)) this.#open(id, place)
    else if (before !== place || WIDE.matches) this.#listed(false)
  }

  /** The one that keys and the title are about. */
  get view() {
    return this.views[0]
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
    const place = { ...this.place, ...changes }
    const address = formatAddress(place)
    if (isStep) history.pushState(null, "", address)
    else history.replaceState(null, "", address)
    this.show(place)
  }

  /** @param {string} id @param {Place} place */
  #open(id, place) {
    const view = new LogView(id, place, {
      session: this.session,
      connection: this.list.connection,
      go: (changes, isStep) => this.#go(changes, isStep),
      openKeys: () => showKeys(this.keys()),
      changed: (workload) => view === this.view && this.#title(workload),
      actions: {
        stop: () => view.workload && actions.stop(this.session, view.workload),
        rerun: () => this.#rerun(view.workload),
        remove: () => this.#remove(view.workload),
        download: () => view.workload && actions.download(this.session, view.workload),
        copyLink: () => actions.copy(this.#link()),
      },
    })
    this.views.push(view)
    this.main.append(view.element)
    view.open()
    if (WIDE.matches && view === this.view) view.scroller.focus({ preventScroll: true })
  }

  /** The address of what shows, with the line at its top if it is not the end. */
  #link() {
    const { view, place } = this
    const from = view && !view.list.isFollowing ? view.topLine : 0
    const target = place.target ?? (from ? { id: place.ids.length > 1 ? place.ids[0] ?? "" : "", from, to: from } : undefined)
    return location.origin + formatAddress({ ...place, target })
  }

  /** @param {Workload} workload */
  #title(workload) {
    document.title = `${MARKS[workload.status]} ${nameOf(workload)}`
    const icons = document.querySelector("link[rel=icon]")
    const address = `/page/icons/${workload.status}.svg`
    if (icons && icons.getAttribute("href") !== address) icons.setAttribute("href", address)
  }

  /** @param {boolean} isEmpty */
  #listed(isEmpty) {
    if (this.place.page !== "list" || this.view) return
    if (isEmpty) this.main.replaceChildren(emptyState())
    else this.main.querySelector(".empty")?.remove()
    const [newest] = [...this.list.workloads].sort((one, other) => Number(other.status === "running") - Number(one.status === "running"))
    if (newest && WIDE.matches) this.#open(newest.id, { ...this.place, page: "log", ids: [newest.id] })
    if (newest && WIDE.matches) this.list.select([newest.id])
  }

  #run() {
    if (!actions.isRefused(this.session)) openRunDialog(this.session, (workload) => this.#started(workload))
  }

  /** @param {Workload | undefined} workload */
  #started(workload) {
    if (!workload) return
    this.list.refresh()
    this.#go({ page: "log", ids: [workload.id], target: undefined, find: "", only: false }, true)
  }

  /** @param {Workload | undefined} workload */
  async #rerun(workload) {
    if (workload) this.#started(await actions.rerun(this.session, workload))
  }

  /** @param {Workload | undefined} workload */
  async #remove(workload) {
    if (!workload || !(await actions.remove(this.session, workload))) return
    say("The workload is deleted.")
    this.list.refresh()
    this.#go({ page: "list", ids: [], target: undefined }, true)
  }

  /** @returns {import("./keys.js").Key[]} */
  keys() {
    const go = (/** @type {1 | -1} */ step) => {
      const workload = this.list.beside(step)
      if (workload) this.#go({ page: "log", ids: [workload.id], target: undefined }, true)
    }
    return [
      ...(this.view ? keysOf(this.view, () => askForLine((line) => this.view?.goTo(line)), () => this.#link()) : []),
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
    const place = parseAddress(new URL(link.href))
    // How rows look goes with a person from log to log.
    this.#go({ ...place, wrap: this.place.wrap, times: this.place.times }, true)
  }
}

function emptyState() {
  return make(
    "div",
    { class: "empty" },
    make("p", {}, "Nothing has run yet. Start something in a terminal, or press ", make("kbd", {}, "c"), "."),
    make("pre", {}, "trio-logs run --name build -- make test\nmake test 2>&1 | trio-logs pipe --name build"),
  )
}
