/**
 * The marks of sections in the lines of a log; sans-IO.
 *
 * Sources: GitHub's workflow commands (`::group::`, in stored logs `##[group]`), GitLab's custom
 * collapsible sections, Buildkite's managing of log output.
 */

/**
 * @typedef {object} Mark
 * @property {"group" | "gitlab" | "buildkite"} family
 * @property {boolean} isStart
 * @property {string} name GitLab's name, or the sign of Buildkite, such as `---`.
 * @property {boolean} [isPath] Whether a title of Buildkite may be the name of a file, as in a diff.
 */

/** What the service looks for, in the syntax of RE2. It looks at texts without escapes. */
export const PATTERN = String.raw`^\s*(?:::|##\[)(?:end)?group(?:::|\])|^(?:---|\+\+\+|~~~|\^\^\^) \S|section_(?:start|end):[0-9]+:`

/** Most lines have none of these, and need no closer look. */
const LIKELY = /group(?:::|\])|---|\+\+\+|~~~|\^\^\^|section_/
const ESCAPES = String.raw`(?:\x1b\[[0-?]*[ -/]*[@-~])*`
const GROUP = new RegExp(String.raw`^(${ESCAPES}\s*)(?:::group::|##\[group\])`)
const END_GROUP = new RegExp(String.raw`^${ESCAPES}\s*(?:::endgroup::|##\[endgroup\])`)
const BUILDKITE = new RegExp(String.raw`^(${ESCAPES})(---|\+\+\+|~~~|\^\^\^) (?=\S)`)
const GITLAB = /section_(start|end):\d+:([\w.-]+)(?:\[[^\]\r]*\])?(?:\r(?:\x1b\[0?K)?|$)/g
/** A name that a time may follow. */
const PATH = /^\S*[./]\S*(?:\t|$)/
/** Go's results of tests, and headings such as ping's "--- host statistics ---". */
const NO_TITLE = /^(?:PASS|FAIL|SKIP|BENCH): | -{3,}$/

/** The marks of a line, in their order. @param {string} text @returns {Mark[]} */
export function marksOf(text) {
  if (!LIKELY.test(text)) return []
  if (GROUP.test(text)) return [{ family: "group", isStart: true, name: "" }]
  if (END_GROUP.test(text)) return [{ family: "group", isStart: false, name: "" }]
  const sign = BUILDKITE.exec(text)
  const title = text.slice(sign?.[0].length)
  if (sign?.[2] === "^^^") return title.trim() === "+++" ? [{ family: "buildkite", isStart: false, name: "^^^" }] : []
  if (sign && !NO_TITLE.test(title)) return [{ family: "buildkite", isStart: true, name: sign[2] ?? "", isPath: PATH.test(title) }]
  return [...text.matchAll(GITLAB)].map(([, kind, name = ""]) => ({ family: "gitlab", isStart: kind === "start", name }))
}

/** A line without its marks. @param {string} text @param {Mark[]} marks */
export function withoutMarks(text, marks) {
  const [first] = marks
  if (first?.family === "gitlab") return text.replace(GITLAB, "")
  if (!first?.isStart) return first ? "" : text
  return text.replace(first.family === "group" ? GROUP : BUILDKITE, "$1")
}
