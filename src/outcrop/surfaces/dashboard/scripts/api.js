// Asks the server. Whatever goes wrong becomes a `Problem`, which has a title, what happened, and the request's id.

import { keep, key } from "./key.js";
import { sent as sentWithProgress } from "./sending.js";

/** What the server refuses (RFC 9457), or that it cannot be reached (status 0). */
export class Problem extends Error {
  constructor(body, status, requestId) {
    super(body.detail ?? body.title);
    this.name = "Problem";
    this.title = body.title;
    this.detail = body.detail ?? null;
    this.status = status;
    this.requestId = requestId;
    this.kind = String(body.type ?? "").split("#").pop();
    this.body = body;
  }
}

let asking = null;
let askForKey = async () => null;

/** Say who asks the person for a key: a function that gives one, or null if there is none. */
export function keysComeFrom(ask) {
  askForKey = ask;
}

/** The address of a path of the API; the page may be served below another path. */
export const address = (path, query = {}) => {
  const url = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(query)) if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
  return url;
};

/** The path of something of a collection. */
export const of = (collection, ...rest) => ["v1/collections", collection, ...rest].map(encoded).join("/");

const encoded = (part, place) => (place === 0 ? part : encodeURIComponent(part));

/** Ask, and give what was answered as JSON. */
export async function ask(path, options = {}) {
  return (await answered(path, options)).value;
}

/** Ask, and give the answer with its headers and how long it took from here. */
export async function answered(path, options = {}) {
  const began = performance.now();
  const response = await opened(path, options);
  const text = await reading(response.text());
  const value = text === "" ? null : (response.headers.get("content-type") ?? "").includes("json") ? JSON.parse(text) : text;
  return { value, headers: response.headers, tookMs: performance.now() - began };
}

/** The response itself, for a body that is read while it comes. Asks for a key when one is wanted. `progress` is told how many bytes of `content` have been sent. */
export async function opened(path, { method, body, query, signal, headers = {}, content, progress } = {}) {
  const sent = { method: method ?? (body === undefined && content === undefined ? "GET" : "POST"), headers: { ...headers }, signal };
  if (body !== undefined) {
    sent.body = JSON.stringify(body);
    sent.headers["content-type"] = "application/json";
  } else if (content !== undefined) sent.body = content;
  for (;;) {
    const used = key();
    if (used !== null) sent.headers.authorization = `Bearer ${used}`;
    const url = address(path, query);
    const response = await reading(progress === undefined ? fetch(url, sent) : sentWithProgress(url, sent, progress));
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (response.status !== 401 || !(await another(used, problem))) throw problem;
  }
}

/** Whether there is another key than the one that was used, asked for once however many requests want it. */
async function another(used, problem) {
  if (key() !== used) return true;
  asking ??= askForKey(problem).finally(() => {
    asking = null;
  });
  const given = await asking;
  if (given === null) return false;
  keep(given);
  return true;
}

async function reading(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ title: "The server cannot be reached", detail: "It may have ended. Start it, and try again." }, 0, null);
  }
}

async function problemOf(response) {
  const text = await reading(response.text());
  let body = {};
  try {
    body = JSON.parse(text);
  } catch {
    body = { title: `The server answered with ${response.status}`, detail: text.slice(0, 300) };
  }
  return new Problem(body, response.status, response.headers.get("x-request-id"));
}

/** Whether an error only says that nobody waits for the answer any more. */
export const wasGivenUp = (error) => error.name === "AbortError";
