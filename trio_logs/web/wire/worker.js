/** The worker that owns the connection of all tabs, or of its one tab where no worker is shared. */

import { Hub } from "./hub.js"

const hub = new Hub()
const scope = /** @type {any} */ (globalThis)

if ("onconnect" in scope) {
  scope.onconnect = (/** @type {{ ports: import("./hub.js").Port[] }} */ { ports: [port] }) => {
    if (port) hub.add(port)
  }
} else hub.add(scope)

setInterval(() => hub.sweep(), 30_000)
