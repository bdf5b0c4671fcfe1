/** What the list of workloads shows: the words of its search, and its filters by status; sans-IO. */

/** @type {[name: string, statuses: string[]][]} */
export const FILTERS = [
  ["All", []],
  ["Running", ["running"]],
  ["Failed", ["failed", "timed_out", "lost"]],
  ["Queued", ["queued"]],
]
const LABEL = /(?:^|\s)label:\s*(?:"([^"]*)"|(\S*))/g

/** The labels that a text asks for, each as `name=value`. A label that somebody still types is none. @param {string} text */
export function labelsIn(text) {
  return [...text.matchAll(LABEL)].map(([, quoted, plain]) => quoted ?? plain ?? "").filter((label) => label.indexOf("=") > 0)
}

/**
 * The parameters of `GET /v1/workloads`.
 *
 * @param {string} text Words, and labels such as `label:team=web` or `label:"team=web shop"`.
 * @param {string[]} statuses None for all.
 * @param {number} limit
 */
export function parametersOf(text, statuses, limit) {
  const query = new URLSearchParams({ limit: String(limit) })
  for (const label of labelsIn(text)) query.append("label", label)
  const search = text.replace(LABEL, " ").split(/\s+/).filter(Boolean).join(" ")
  if (search) query.set("search", search)
  for (const status of statuses) query.append("status", status)
  return query
}

/**
 * How many workloads each filter shows.
 *
 * @param {Record<string, number>} counts By status.
 */
export function countsOf(counts) {
  return FILTERS.map(([, statuses]) => {
    const counted = statuses.length ? statuses.map((status) => counts[status] ?? 0) : Object.values(counts)
    return counted.reduce((sum, count) => sum + count, 0)
  })
}
