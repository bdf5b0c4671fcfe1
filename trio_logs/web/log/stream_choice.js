/** Showing all lines of a log, or those of one stream. */

import { StreamModel } from "./stream_model.js"

export class StreamChoice {
  #stream = ""

  /**
   * @param {import("./view.js").LogView} view
   * @param {(path: string, signal: AbortSignal) => Promise<Response>} read
   */
  constructor(view, read) {
    this.view = view
    this.read = read
  }

  close() {
    this.view.rows.streamed?.close()
  }

  /** Lines have come. */
  grew() {
    this.view.rows.streamed?.grew()
  }

  /** @param {string} stream Empty for all. */
  async show(stream) {
    const { view } = this
    const { rows, list, model } = view
    if (stream === this.#stream) return
    this.#stream = stream
    const chosen = stream ? new StreamModel(model, stream, this.read, () => this.#changed()) : undefined
    await chosen?.open()
    if (stream !== this.#stream) return chosen?.close()
    const line = view.topLine
    rows.streamed?.close()
    rows.streamed = chosen
    this.grew()
    view.follow.restart()
    if (!list.isFollowing) list.reveal(rows.reach(line), { always: true, part: 0 })
    list.refresh()
  }

  #changed() {
    this.view.follow.grew()
    this.view.list.refresh()
  }
}
