/** The time of a line, in one of four forms; sans-IO. */

/** @typedef {"local" | "utc" | "start" | "none"} Times */

/** @type {[Times, string][]} */
export const TIMES = [
  ["local", "Local time"],
  ["utc", "UTC"],
  ["start", "Since the start"],
  ["none", "None"],
]

/**
 * @param {string} time RFC 3339 in UTC.
 * @param {Times} times
 * @param {number} start The start of the workload, in milliseconds since 1970.
 */
export function timeOf(time, times, start) {
  if (times === "none") return ""
  if (times === "utc") return time.slice(11, 23)
  const date = new Date(time)
  if (times === "start") return sinceStart((date.getTime() - start) / 1000)
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0")
  const clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":")
  return `${clock}.${String(date.getMilliseconds()).padStart(3, "0")}`
}

/** @param {number} seconds */
function sinceStart(seconds) {
  const rounded = Math.max(0, seconds)
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0")
  const [hours, minutes] = [Math.floor(rounded / 3600), Math.floor(rounded / 60) % 60]
  const rest = (rounded % 60).toFixed(3).padStart(6, "0")
  return hours ? `${hours}:${two(minutes)}:${rest}` : `${minutes}:${rest}`
}

/** The zone of local times, as in "UTC+01:00". @param {number} offset Of `Date.getTimezoneOffset`, in minutes. */
export function zone(offset) {
  const two = (/** @type {number} */ number) => String(Math.floor(number)).padStart(2, "0")
  return `UTC${offset > 0 ? "-" : "+"}${two(Math.abs(offset) / 60)}:${two(Math.abs(offset) % 60)}`
}
