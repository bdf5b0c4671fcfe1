/** Icons as SVG elements; each status has a shape of its own. */

const NAMESPACE = "http://www.w3.org/2000/svg"
const CIRCLE = "M12.6 7a5.6 5.6 0 1 1-11.2 0a5.6 5.6 0 0 1 11.2 0z"

/** Paths in a square of 14; those after the bar are filled. @type {Record<string, string>} */
const PATHS = {
  succeeded: `${CIRCLE}M4.5 7.2l1.8 1.8 3.4-3.8`,
  failed: `${CIRCLE}M5 5l4 4M9 5l-4 4`,
  running: "M12.6 7a5.6 5.6 0 1 1-3-4.96|M8.4 7a1.4 1.4 0 1 1-2.8 0a1.4 1.4 0 0 1 2.8 0z",
  queued: CIRCLE,
  stopped: `${CIRCLE}|M5 5h4v4h-4z`,
  timed_out: `${CIRCLE}M7 4v3.2l2 1.4`,
  lost: "M7 1.2l6 11H1zM7 5.4v3M7 10.4v.1",
  find: "M10 6a4 4 0 1 1-8 0a4 4 0 0 1 8 0zM9 9l3.5 3.5",
  download: "M7 2v8M3.6 7L7 10.4 10.4 7M3 12.6h8",
  again: "M11.8 8.4A5 5 0 1 1 11 3.6L12.4 5M12.4 2v3h-3",
  wrap: "M2 3.5h10M2 7h8a2.3 2.3 0 0 1 0 4.6H7.4M8.8 10L7.2 11.6l1.6 1.6M2 10.8h2.6",
  times: `${CIRCLE}M7 4v3.2h2.4`,
  link: "M5.8 8.2l2.4-2.4M6.4 4.4l1.5-1.5a2.3 2.3 0 0 1 3.2 3.2L9.6 7.6M7.6 9.6l-1.5 1.5a2.3 2.3 0 0 1-3.2-3.2L4.4 6.4",
  plus: "M7 2v10M2 7h10",
  down: "M7 2v9M3 7.4L7 11.4l4-4",
  funnel: "M1.5 2.5h11L8.3 7.6v4L5.7 10V7.6z",
  streams: "M1.5 3.5h11M1.5 7h7M1.5 10.5h9",
  theme: "M11.5 8.6A5 5 0 0 1 5.4 2.5a5 5 0 1 0 6.1 6.1z",
  fold: "|M3.5 5h7L7 10z",
  previous: "M3 9l4-4 4 4",
  next: "M3 5l4 4 4-4",
  split: "M2.6 2h8.8a1 1 0 0 1 1 1v8a1 1 0 0 1-1 1H2.6a1 1 0 0 1-1-1V3a1 1 0 0 1 1-1zM7 2v10",
  remove: "M2.5 3.8h9M5.4 3.8V2.2h3.2v1.6M3.6 3.8l.6 8h5.6l.6-8",
  close: "M3.5 3.5l7 7M10.5 3.5l-7 7",
  out: "M5.5 2H2.5v10h3M8.5 4.4L11.4 7 8.5 9.6M11 7H5.6",
}

/**
 * @param {string} name
 * @param {string} [status] Colours it.
 */
export function icon(name, status = "") {
  const svg = document.createElementNS(NAMESPACE, "svg")
  svg.setAttribute("viewBox", "0 0 14 14")
  svg.setAttribute("aria-hidden", "true")
  svg.setAttribute("class", status ? `icon is-${status}` : "icon")
  for (const [place, path] of (PATHS[name] ?? "").split("|").entries()) {
    const element = document.createElementNS(NAMESPACE, "path")
    element.setAttribute("d", path)
    if (place) element.setAttribute("class", "filled")
    svg.append(element)
  }
  return svg
}
