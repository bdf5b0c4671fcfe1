/** A button that opens a menu of which one item is chosen. */

import { make } from "./element.js"
import { icon } from "./icons.js"

export class Menu {
  /**
   * @param {string} name Of the button and of the menu.
   * @param {string} shape The icon.
   * @param {[string, string][]} items The value and the words of each.
   * @param {(value: string) => void} pick
   */
  constructor(name, shape, items, pick) {
    this.items = items
    this.pick = pick
    this.label = make("span", {}, name)
    this.button = make("button", { type: "button", class: "button wide", "aria-label": name, title: name, "aria-haspopup": "menu", "aria-expanded": "false", onclick: () => this.#toggle(true) }, icon(shape), this.label)
    this.menu = make(
      "div",
      { class: "menu", role: "menu", "aria-label": name, hidden: true, onkeydown: (event) => this.#key(event) },
      ...items.map(([value, words]) =>
        make("button", { type: "button", role: "menuitemradio", "data-value": value, tabindex: "-1", onclick: () => this.#picked(value) }, words),
      ),
    )
    this.menu.addEventListener("focusout", ({ relatedTarget }) => {
      if (!this.menu.contains(/** @type {Node | null} */ (relatedTarget))) this.#toggle(false)
    })
    this.element = make("span", { class: "menu-of" }, this.button, this.menu)
  }

  /** @param {string} value The item that is chosen. @param {boolean} isOn Whether that is worth a colour. */
  show(value, isOn) {
    this.button.classList.toggle("on", isOn)
    for (const item of this.#buttons()) item.setAttribute("aria-checked", String(item.dataset.value === value))
  }

  #buttons() {
    return [...this.menu.querySelectorAll("button")]
  }

  /** @param {boolean} isOpen */
  #toggle(isOpen) {
    this.menu.hidden = !isOpen
    this.button.setAttribute("aria-expanded", String(isOpen))
    const items = this.#buttons()
    if (isOpen) (items.find((item) => item.getAttribute("aria-checked") === "true") ?? items[0])?.focus()
  }

  /** @param {string} value */
  #picked(value) {
    this.#toggle(false)
    this.button.focus()
    this.pick(value)
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const items = this.#buttons()
    const place = items.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement))
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (event.key === "Escape") {
      this.#toggle(false)
      this.button.focus()
    } else if (step) items[(place + step + items.length) % items.length]?.focus()
    else return
    event.preventDefault()
    event.stopPropagation()
  }
}
