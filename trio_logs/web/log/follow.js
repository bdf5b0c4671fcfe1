/** Following the end of a log, and what is new below where one reads. */

import { make, setText } from "../element.js"
import { grouped } from "../format.js"
import { icon } from "../icons.js"

export class Follow {
  /** The lines that there were when following ended. */
  #left = 0

  /**
   * @param {import("../scroll/list.js").VirtualList} list
   * @param {{ readonly lineCount: number, readonly hasEnded: boolean }} rows
   * @param {import("./tools.js").Tools} tools
   */
  constructor(list, rows, tools) {
    this.list = list
    this.rows = rows
    this.tools = tools
    this.words = make("span", {})
    this.button = make("button", { type: "button", class: "new", hidden: true, onclick: () => list.follow(true) }, icon("down"), this.words)
  }

  /** All lines of now are seen. */
  restart() {
    this.#left = this.rows.lineCount
    this.grew()
  }

  /** The log has more lines than before. */
  grew() {
    // At the end of what has ended, nothing is left to follow.
    this.tools.showFollow(this.list.isFollowing && !this.rows.hasEnded)
    const count = this.list.isFollowing ? 0 : Math.max(0, this.rows.lineCount - this.#left)
    this.button.hidden = count === 0
    if (count) setText(this.words, `${grouped(count)} new ${count === 1 ? "line" : "lines"}`)
  }
}
