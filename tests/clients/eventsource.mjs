// Follows one log with npm's `eventsource`, and prints what it gets, one JSON object a line.
// It never closes the source: the process ends when the server has told it not to come back.
//
//     TOKEN=... node eventsource.mjs URL

import { EventSource } from "eventsource";

const print = (object) => process.stdout.write(JSON.stringify(object) + "\n");
const requests = [];

const source = new EventSource(process.argv[2], {
  fetch: async (url, init) => {
    const headers = { ...init.headers, Authorization: `Bearer ${process.env.TOKEN}` };
    const response = await fetch(url, { ...init, headers });
    requests.push([init.headers["Last-Event-ID"] ?? null, response.status]);
    return response;
  },
});

for (const kind of ["message", "end", "gap", "reset", "shutdown"]) {
  source.addEventListener(kind, (event) => {
    print({ kind, id: event.lastEventId, data: event.data });
  });
}

source.addEventListener("error", () => {
  if (source.readyState === EventSource.CLOSED) print({ kind: "closed", requests });
});
