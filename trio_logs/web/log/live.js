/** What is new of a log, as the shared stream says it. */

import { Problem } from "../wire/request.js"

export class Live {
  #abort = new AbortController()

  /** @param {import("./view.js").LogView} view */
  constructor(view) {
    this.view = view
  }

  open() {
    const { id, model, surroundings } = this.view
    surroundings.connection.follow(surroundings.session.key, id, () => model.head, (news) => this.#hear(news))
  }

  close() {
    this.#abort.abort()
    this.view.surroundings.connection.drop(this.view.id)
  }

  /** @param {string} path Follows the workload's own. @param {RequestInit} [options] */
  #send(path, options) {
    const { session } = this.view.surroundings
    return session.send(`/v1/workloads/${this.view.id}${path}`, { ...options, signal: this.#abort.signal })
  }

  /** @param {import("../wire/log_news.js").News} news */
  #hear(news) {
    const { model } = this.view
    const { events } = news
    // Gaps and resets come before the lines that follow them.
    model.take(events)
    model.take(news.lines)
    model.head = Math.max(model.head, news.head)
    model.setUnfinished(news.unfinished)
    this.view.grew()
    if (events.some(({ event }) => event === "reset")) this.#placeReset()
    if (events.some(({ event }) => event === "end" || event === "gone")) this.#ended()
  }

  async #ended() {
    await this.#refetch()
    this.view.surroundings.connection.drop(this.view.id)
    this.view.found.grew()
  }

  async #refetch() {
    const { view } = this
    try {
      const answer = await this.#send("")
      view.setWorkload(await answer.json())
    } catch (error) {
      // Else, what shows stays as it was; the state of the connection tells.
      if (error instanceof Problem && error.status === 404) view.setDeleted()
    }
  }

  /** The lines from before a reset come again: what is new comes after the last one of now. */
  async #placeReset() {
    const { model, list, found, rows } = this.view
    if (found.finder.query) found.finder.search(found.finder.query)
    rows.streamed?.open()
    const answer = await this.#send("/logs?follow=false&tail=0", { method: "HEAD" }).catch(() => undefined)
    if (!answer || !model.reset) return
    model.reset = { ...model.reset, after: Number(answer.headers.get("Log-Lines")) }
    list.refresh()
  }
}
