/** Numbers, sizes, durations and outcomes as people read them; sans-IO. */

/** @typedef {"queued" | "running" | "succeeded" | "failed" | "stopped" | "timed_out" | "lost"} Status */

/**
 * @typedef {object} Workload The fields that the page reads; see `http-api`.
 * @property {string} id
 * @property {string | null} name
 * @property {string[]} command
 * @property {Record<string, string>} labels
 * @property {Status} status
 * @property {string | null} reason
 * @property {number | null} exit_code
 * @property {string | null} signal
 * @property {string | null} error
 * @property {string} created_at
 * @property {string | null} started_at
 * @property {string | null} finished_at
 * @property {number} lines
 * @property {number} bytes
 * @property {string} backend
 */

/** @param {number} number */
export const grouped = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ",")

/** @param {number} bytes */
export function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"]
  let [value, unit] = [bytes, 0]
  while (value >= 999.95 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1]
  return `${unit ? value.toFixed(1) : value} ${units[unit]}`
}

/** In words: "2 min 03 s". @param {number} seconds */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds))
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0")
  if (whole < 60) return `${whole < 10 ? Math.max(0, seconds).toFixed(1) : whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${two(Math.floor(whole / 60) % 60)} min`
  return `${Math.floor(whole / 86400)} d ${two(Math.floor(whole / 3600) % 24)} h`
}

/** As a clock: "2:03", "3:12:09". @param {number} seconds */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds))
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0")
  const hours = Math.floor(whole / 3600)
  const minutes = Math.floor(whole / 60) % 60
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`
}

/** How long ago: "now", "4 min", "yesterday". @param {number} seconds */
export function age(seconds) {
  if (seconds < 60) return "now"
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`
  return seconds < 172_800 ? "yesterday" : `${Math.floor(seconds / 86400)} d`
}

/** Seconds from its start to its end, or to now. @param {Workload} workload @param {number} now Milliseconds. */
export function lasted({ started_at, finished_at }, now) {
  if (!started_at) return 0
  return ((finished_at ? Date.parse(finished_at) : now) - Date.parse(started_at)) / 1000
}

/** What became of a workload, in words. @param {Workload} workload @param {number} now Milliseconds. */
export function outcome(workload, now) {
  const time = duration(lasted(workload, now))
  const after = workload.started_at ? ` after ${time}` : ""
  switch (workload.status) {
    case "queued":
      return "queued"
    case "running":
      return `running for ${time}`
    case "succeeded":
      return `succeeded${after}`
    case "stopped":
      return workload.reason === "shutdown" ? `stopped by the shutdown of the service${after}` : `stopped${after}`
    case "timed_out":
      return `timed out${after}`
    case "lost":
      return workload.reason === "client_lost" ? "lost: its client did not come back" : "lost: the service died while it ran"
    case "failed":
      if (workload.reason === "not_started") return `could not be started${why(workload)}`
      return `failed${cause(workload)}${after}${cause(workload) ? "" : why(workload)}`
  }
}

/** @param {Workload} workload */
function cause({ reason, exit_code, signal }) {
  if (reason === "out_of_memory") return ": out of memory"
  if (signal) return ` by ${signal}`
  return exit_code === null ? "" : ` with exit code ${exit_code}`
}

/** The sentence of the service, which comes last. @param {Workload} workload */
const why = ({ error }) => (error ? `: ${error}` : "")

/** The end of an id, by which commands know it, too. @param {string} id */
export const shortId = (id) => id.slice(-6)

/** @param {Pick<Workload, "name" | "command" | "id">} workload */
export function nameOf({ name, command, id }) {
  return name || (command ?? []).join(" ") || id
}
