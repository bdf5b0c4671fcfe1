/** Following the end of a log, and what is new below where one reads. */

import { make, setText } from "../element.js"
import { grouped } from "../format.js"
import { icon } from "../icons.js"

export class Follow {
  /** The number of the last line when following ended. */
  #left = 0

  /**
   * @param {import("../scroll/list.js").VirtualList} list
   * @param {Pick<import("./model.js").LogModel, "head" | "hasEnded">} model
   * @param {import("./tools.js").Tools} tools
   */
  constructor(list, model, tools) {
    this.list = list
    this.model = model
    this.tools = tools
    this.words = make("span", {})
    this.button = make("button", { type: "button", class: "new", hidden: true, onclick: () => list.follow(true) }, icon("down"), this.words)
  }

  /** @param {boolean} isFollowing */
  show(isFollowing) {
    this.#left = this.model.head
    this.grew()
  }

  /** The log has more lines than before. */
  grew() {
    // At the end of what has ended, nothing is left to follow.
    this.tools.showFollow(this.list.isFollowing && !this.model.hasEnded)
    const count = this.list.isFollowing ? 0 : Math.max(0, this.model.head - this.#left)
    this.button.hidden = count === 0
    if (count) setText(this.words, `${grouped(count)} new ${count === 1 ? "line" : "lines"}`)
  }
}
