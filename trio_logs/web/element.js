/** Elements without HTML: the policy of the page lets no text become markup. */

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} name
 * @param {Record<string, string | boolean | ((event: any) => void) | undefined>} [attributes]
 *   A function listens, such as `onclick`; `true` is an attribute without a value.
 * @param {...(Node | string)} children A string is text.
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key.slice(2), value)
    else if (value === true) element.setAttribute(key, "")
    else if (typeof value === "string") element.setAttribute(key, value)
  }
  element.append(...children)
  return element
}

/** Change a text only if it differs: each change is announced, laid out and painted. @param {Element} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text
}
