// Node's http: the frame of a line is made once, and written to each client.
// Lossless by back-pressure: the source waits while a client's buffer is full.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import http from "node:http";
import { createInterface } from "node:readline";
import { setImmediate as pass, setTimeout as sleep } from "node:timers/promises";

const subscribers = new Set();
const FILL = "x".repeat(68);

function line(number) {
  // hrtime is CLOCK_MONOTONIC, which is what the readers compare with.
  const stamp = process.hrtime.bigint().toString().padStart(19, "0");
  return `~${number.toString().padStart(9, "0")} ${stamp} ${FILL}`;
}

async function publish(number, text) {
  const frame = Buffer.from(`id: ${number}\ndata: ${text}\n\n`);
  let full = null;
  for (const answer of subscribers) {
    if (!answer.write(frame)) (full ??= []).push(answer);
  }
  for (const answer of full ?? []) {
    while (answer.writableNeedDrain && !answer.destroyed) {
      await Promise.race([once(answer, "drain"), once(answer, "close")]);
    }
  }
}

async function run(source) {
  while (!existsSync(source.gate)) await sleep(5);
  let number = 0;
  if (source.command) {
    const child = spawn(source.command[0], source.command.slice(1), {
      stdio: ["ignore", "pipe", "inherit"],
    });
    for await (const text of createInterface({ input: child.stdout })) {
      number += 1;
      await publish(number, text);
    }
  } else {
    const start = performance.now();
    for (; number < source.lines; number++) {
      if (source.rate) {
        const wait = start + (number / source.rate) * 1000 - performance.now();
        if (wait > 0) await sleep(wait);
      } else if (number % 100 === 0) await pass();
      await publish(number + 1, line(number));
    }
    if (source.rate) await sleep(200); // as in bench/lines.py
  }
  for (const answer of subscribers) answer.end("event: end\ndata:\n\n");
  subscribers.clear();
}

const server = http.createServer((request, answer) => {
  if (request.url === "/source") {
    let body = "";
    request.on("data", (part) => (body += part));
    request.on("end", () => {
      run(JSON.parse(body));
      answer.writeHead(204).end();
    });
    return;
  }
  answer.writeHead(200, { "Content-Type": "text/event-stream" });
  answer.flushHeaders();
  answer.socket.setNoDelay(true);
  subscribers.add(answer);
  answer.on("close", () => subscribers.delete(answer));
});
server.requestTimeout = 0;
server.listen(0, "127.0.0.1", 2048, () => {
  console.log(`Listening on http://127.0.0.1:${server.address().port}`);
});
