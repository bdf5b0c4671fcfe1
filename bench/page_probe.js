// Measures the page from inside. A moment counts once its frame has been drawn, as a person sees it.

globalThis.probe = (() => {
  const log = () => document.querySelector("[role=log]")
  const frame = () => new Promise((done) => requestAnimationFrame(done))

  // A message that is posted before a frame is drawn arrives after it.
  async function drawn() {
    const { port1, port2 } = new MessageChannel()
    await new Promise((done) => {
      port1.onmessage = done
      port2.postMessage(0)
    })
    port1.close()
    return performance.now()
  }

  // The rows in view, parts of rows included, and their tops in pixels from that of the view.
  function inView() {
    const view = log().getBoundingClientRect()
    const found = new Map()
    for (const row of log().querySelectorAll(".row[id]:not(.pinned)")) {
      const { top, bottom } = row.getBoundingClientRect()
      if (bottom > view.top && top < view.bottom) found.set(row, top - view.top)
    }
    return found
  }

  const isWhole = (rows) => rows.size > 0 && [...rows.keys()].every((row) => row.querySelector(".text").textContent)

  // Milliseconds from the start of the navigation to the first lines. A loop of frames would slow it down.
  async function first() {
    await new Promise((done) => {
      const look = () => {
        if (!log() || !isWhole(inView())) return
        observer.disconnect()
        done(undefined)
      }
      const observer = new MutationObserver(look)
      observer.observe(document, { childList: true, subtree: true })
      look()
    })
    await frame()
    return drawn()
  }

  // Milliseconds from a jump to the frame that has all of its lines.
  async function jump(isAddress, line, share) {
    const before = inView().keys().next().value?.id
    const start = performance.now()
    if (isAddress) location.hash = `#L${line}`
    else log().scrollTop = share * (log().scrollHeight - log().clientHeight)
    while (true) {
      await frame()
      const rows = inView()
      const isThere = isAddress ? rows.has(document.getElementById(`L${line}`)) : rows.keys().next().value?.id !== before
      if (isThere && isWhole(rows)) return (await drawn()) - start
    }
  }

  // Jump so often; return how long each took, and the most rows that were elements.
  async function jumps(lines) {
    const took = []
    let most = 0
    for (const [place, [line, share]] of lines.entries()) {
      took.push(await jump(place % 2 === 0, line, share))
      most = Math.max(most, log().querySelectorAll(".row").length)
      // What the last jump left to do is not a part of the next one.
      await new Promise((done) => setTimeout(done, 30))
    }
    return { took, most }
  }

  // What the page's thread does, and whether what shows moves, until `stop`.
  function watch() {
    const tasks = []
    let latest = 0
    const observer = new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration)))
    observer.observe({ type: "longtask" })
    const places = new Map([...inView()].map(([row, top]) => [row.id, top]))
    let [moved, frames, isOver] = [0, 0, false]
    const look = () => {
      const now = new Map([...inView()].map(([row, top]) => [row.id, top]))
      for (const [id, top] of places) moved = Math.max(moved, Math.abs((now.get(id) ?? Infinity) - top))
      frames += 1
      if (!isOver) requestAnimationFrame(look)
    }
    requestAnimationFrame(look)
    let before = performance.now()
    const timer = setInterval(() => {
      latest = Math.max(latest, performance.now() - before - 10)
      before = performance.now()
    }, 10)
    return () => {
      isOver = true
      clearInterval(timer)
      tasks.push(...observer.takeRecords().map(({ duration }) => duration))
      observer.disconnect()
      return { longest: Math.max(0, ...tasks), latest, moved, frames }
    }
  }

  // Whether the last line shows wholly at the end of a log that has so many.
  function isAtEnd(lines) {
    const row = document.getElementById(`L${lines}`)
    if (!row || !row.querySelector(".text").textContent) return false
    const view = log().getBoundingClientRect()
    const { top, bottom } = row.getBoundingClientRect()
    return top >= view.top && bottom <= view.bottom + 1
  }

  // Whether a line shows wholly.
  function isShown(line) {
    const row = document.getElementById(`L${line}`)
    if (!row) return false
    const view = log().getBoundingClientRect()
    const { top, bottom } = row.getBoundingClientRect()
    return top >= view.top - 1 && bottom <= view.bottom + 1
  }

  // Resolves once the log has scrolled, also if it had no room to.
  function scrolled() {
    return new Promise((done) => {
      const end = async () => {
        clearTimeout(timer)
        await frame()
        await frame()
        done(undefined)
      }
      const timer = setTimeout(end, 5000)
      log().addEventListener("scrollend", end, { once: true })
    })
  }

  // Resolves once the rows stay where they are for ten frames, as after a change of the width.
  async function settled() {
    let before = ""
    for (let still = 0; still < 10; ) {
      await frame()
      const now = JSON.stringify(places())
      still = now === before ? still + 1 : 0
      before = now
    }
  }

  // Resolves once the last of so many lines has been drawn.
  async function end(lines) {
    while (!isAtEnd(lines)) await frame()
    await drawn()
  }

  // Resolves once the page counts so many lines below what shows.
  async function below(lines) {
    const words = `${lines.toLocaleString("en")} new lines`
    while (![...document.querySelectorAll("button")].some(({ textContent }) => textContent === words)) await frame()
  }

  // Start a selection in a line, or extend it to there.
  function select(line, column, isStart) {
    const [node] = document.getElementById(`L${line}`).querySelector(".text").childNodes
    if (isStart) getSelection().setBaseAndExtent(node, column, node, column)
    else getSelection().extend(node, column)
  }

  const places = () => Object.fromEntries([...inView()].map(([row, top]) => [row.dataset.line, top]))

  // The text that a copy of the selection puts on the clipboard.
  function copied() {
    const clipboardData = new DataTransfer()
    const event = new ClipboardEvent("copy", { clipboardData, bubbles: true, cancelable: true })
    getSelection().focusNode.parentElement.dispatchEvent(event)
    return clipboardData.getData("text/plain")
  }

  return { first, jumps, watch, end, below, isShown, scrolled, settled, places, select, copied }
})()
