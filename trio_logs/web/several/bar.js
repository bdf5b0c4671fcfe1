/** The line below several logs: how many are live, and whether they are merged. */

import { make, setText } from "../element.js"
import { isFinal } from "../log/header.js"
import { press } from "../log/tools.js"

/** @typedef {import("../format.js").Workload} Workload */

export class Bar {
  /**
   * @param {{ isMerged: boolean, merge: (isMerged: boolean) => void, openKeys: () => void }} options
   * @param {...HTMLElement} content
   */
  constructor({ isMerged, merge, openKeys }, ...content) {
    this.live = make("span", { class: "state" })
    const button = make("button", { type: "button", class: "plain merge", title: "Show all lines in one log, by time", onclick: () => merge(!isMerged) }, "Merge")
    press(button, isMerged)
    this.element = make(
      "footer",
      { class: "bar" },
      this.live,
      ...content,
      make("span", { class: "grow" }),
      button,
      make("button", { type: "button", class: "plain wide", onclick: openKeys }, make("kbd", {}, "?"), " keys"),
    )
  }

  /** @param {(Workload | undefined)[]} workloads Undefined while the record of one is on its way. */
  show(workloads) {
    const live = workloads.filter((workload) => workload && !isFinal(workload)).length
    const isKnown = workloads.every(Boolean)
    this.live.dataset.state = live ? "live" : "ended"
    setText(this.live, live ? `${live} live` : isKnown ? "ended" : "")
  }
}
