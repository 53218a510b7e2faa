// Reads server-sent events with fetch: the browser's own EventSource cannot send a key.

import { opened, wasGivenUp } from "../api.js";

const PAUSE_MS = 1_000;
const TRIES = 5;

/** Follow a build until it ends. `told` gets it whenever it has changed. Resolves to it as it ended, or to null if given up. */
export async function followed(path, told, signal) {
  let failed = 0;
  while (!signal.aborted) {
    try {
      const response = await opened(path, { signal, headers: { accept: "text/event-stream" } });
      for await (const { event, data } of events(response.body)) {
        failed = 0;
        const build = JSON.parse(data);
        told(build);
        if (event === "end") return build;
      }
    } catch (error) {
      if (wasGivenUp(error)) return null;
      failed += 1;
      if (failed >= TRIES || error.status >= 400) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS)); // the connection was cut; the build goes on
  }
  return null;
}

/** The events of a stream, as the standard has them: fields of lines, an empty line at the end, comments after a colon. */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let found = { event: "message", data: [] };
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r\n|\n|\r/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (found.data.length > 0) yield { event: found.event, data: found.data.join("\n") };
        found = { event: "message", data: [] };
        continue;
      }
      const [, field, text = ""] = /^([^:]*)(?:: ?(.*))?$/.exec(line);
      if (field === "event") found.event = text;
      else if (field === "data") found.data.push(text);
    }
  }
}
