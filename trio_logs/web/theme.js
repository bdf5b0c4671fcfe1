/** Dark or light: as the system prefers, until a person chooses. */

const STORED = "trio-logs-theme"
const dark = matchMedia("(prefers-color-scheme: dark)")

export function applyTheme() {
  const chosen = localStorage.getItem(STORED)
  document.documentElement.dataset.theme = chosen ?? (dark.matches ? "dark" : "light")
}

export function switchTheme() {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark"
  // Who chooses what the system prefers follows the system again.
  if (theme === (dark.matches ? "dark" : "light")) localStorage.removeItem(STORED)
  else localStorage.setItem(STORED, theme)
  applyTheme()
}

dark.addEventListener("change", applyTheme)
