// Sends a file. `fetch` does not tell how much of it is on its way, which with a large one is what a person wants to know.

/** What `fetch(url, options)` would give; `progress(bytes)` is called with how many have been sent. Rejects as `fetch` does. */
export function sent(url, { method, headers, body, signal }, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, url);
    request.responseType = "arraybuffer";
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    const stop = () => request.abort();
    signal?.addEventListener("abort", stop);
    request.upload.addEventListener("progress", (event) => progress(event.loaded));
    request.addEventListener("load", () => resolve(answerOf(request)));
    request.addEventListener("error", () => reject(new TypeError("The network failed")));
    request.addEventListener("abort", () => reject(new DOMException("Nobody waits any more", "AbortError")));
    request.addEventListener("loadend", () => signal?.removeEventListener("abort", stop));
    if (signal?.aborted) reject(new DOMException("Nobody waits any more", "AbortError"));
    else request.send(body);
  });
}

function answerOf(request) {
  const lines = request.getAllResponseHeaders().split("\r\n").filter(Boolean);
  const headers = lines.map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]);
  const body = request.response.byteLength === 0 ? null : request.response; // a status without a body takes none
  return new Response(body, { status: request.status, headers });
}
