/** What an address shows, and the address of what shows; sans-IO. */

/**
 * @typedef {object} Place
 * @property {"list" | "log" | "search"} page
 * @property {string[]} ids Of the workloads whose logs show.
 * @property {boolean} isMerged
 * @property {string} find
 * @property {boolean} matchCase
 * @property {boolean} isRegex
 * @property {boolean} only Matches only.
 * @property {string} stream `stdout`, `stderr`, `system`, or empty for all.
 * @property {string[]} labels Each as `name=value`: the workloads that a search looks at.
 * @property {string[]} statuses Likewise.
 * @property {boolean} wrap
 * @property {import("./log/times.js").Times} times
 * @property {{ id: string, from: number, to: number } | undefined} target The lines it points at; the id
 *   is empty where one log shows.
 * @property {string | undefined} code Of a sign-in; empty or wrong where the address is.
 */

const TIMES = ["local", "utc", "start", "none"]

/** @param {{ pathname: string, search: string, hash: string }} location @returns {Place} */
export function parseAddress({ pathname, search, hash }) {
  const query = new URLSearchParams(search)
  const ids = pathname.startsWith("/w/") ? decoded(pathname.slice(3)).split(",").filter(Boolean) : []
  const times = query.get("times") ?? ""
  return {
    page: ids.length ? "log" : pathname === "/search" ? "search" : "list",
    ids,
    isMerged: query.get("view") === "merged",
    find: query.get("find") ?? "",
    matchCase: query.get("case") === "true",
    isRegex: query.get("regex") === "true",
    only: query.get("only") === "true",
    stream: query.get("stream") ?? "",
    labels: query.getAll("label"),
    statuses: query.getAll("status"),
    wrap: query.get("wrap") === "true",
    times: /** @type {import("./log/times.js").Times} */ (TIMES.includes(times) ? times : "local"),
    target: parseTarget(hash),
    code: hash.startsWith("#code=") ? decoded(hash.slice("#code=".length)) : undefined,
  }
}

/** An address may have anything in it, also what decodes to nothing. @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** @param {string} hash @returns {Place["target"]} */
function parseTarget(hash) {
  const found = /^#(?:([\w-]+):)?L(\d{1,15})(?:-L?(\d{1,15}))?$/.exec(decoded(hash))
  if (!found) return undefined
  const [from, to] = [Number(found[2]), Number(found[3] ?? found[2])]
  if (!from || !to) return undefined
  return { id: found[1] ?? "", from: Math.min(from, to), to: Math.max(from, to) }
}

/** @param {Place} place What is as by default is left out. */
export function formatAddress(place) {
  const query = new URLSearchParams()
  if (place.isMerged && place.ids.length > 1) query.set("view", "merged")
  if (place.find) query.set("find", place.find)
  const flags = { case: place.matchCase, regex: place.isRegex, only: place.only }
  for (const [name, flag] of Object.entries(flags)) if (flag && place.find) query.set(name, "true")
  if (place.stream) query.set("stream", place.stream)
  if (place.page === "search") {
    for (const label of place.labels) query.append("label", label)
    for (const status of place.statuses) query.append("status", status)
  }
  if (place.wrap) query.set("wrap", "true")
  if (place.times !== "local") query.set("times", place.times)
  const path = { list: "/", search: "/search", log: `/w/${place.ids.join(",")}` }[place.page]
  return `${path}${query.size ? `?${query}` : ""}${formatTarget(place.target)}`
}

/** The same view of other logs. The target stays while its log shows. @param {Place} place @param {string[]} ids @returns {Place} */
export function withLogs(place, ids) {
  const id = place.target?.id || place.ids[0] || ""
  const isKept = place.target && ids.includes(id)
  const target = isKept && place.target ? { ...place.target, id: ids.length > 1 ? id : "" } : undefined
  return { ...place, page: ids.length ? "log" : "list", ids, isMerged: place.isMerged && ids.length > 1, target }
}

/** @param {Place["target"]} target */
function formatTarget(target) {
  if (!target) return ""
  const { id, from, to } = target
  return `#${id && `${id}:`}L${from}${to > from ? `-L${to}` : ""}`
}
