// The same search as code: with curl, with Python over HTTP, and with the library in one's own process.

import { address, of } from "../api.js";
import { dialog } from "../dialogs.js";
import { h, refill } from "../dom.js";
import { announce } from "../notices.js";
import { tabs } from "../tabs.js";

const INDENT = "    ";

/** A shell word, whatever it holds. */
export const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** A value as Python writes it. */
export function python(value) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${python(one)}`).join(", ")}}`;
  return JSON.stringify(value);
}

export function curl(body, { collection, wantsKey }) {
  const lines = [`curl ${quoted(String(address(of(collection, "search"))))}`];
  if (wantsKey) lines.push(`-H "authorization: Bearer $OUTCROP_KEY"`);
  lines.push("-H 'content-type: application/json'", `--data-binary ${quoted(JSON.stringify(body))}`);
  return lines.join(" \\\n  ");
}

export function overHttp(body, { collection, wantsKey }) {
  const headers = { "content-type": '"application/json"', ...(wantsKey ? { authorization: `f"Bearer {os.environ['OUTCROP_KEY']}"` } : {}) };
  const given = Object.entries(headers).map(([name, value]) => `"${name}": ${value}`).join(", ");
  return [
    "import json",
    ...(wantsKey ? ["import os"] : []),
    "from urllib.request import Request, urlopen",
    "",
    `body = ${python(body)}`,
    `request = Request(${python(String(address(of(collection, "search"))))}, json.dumps(body).encode(), {${given}})`,
    "with urlopen(request) as response:",
    `${INDENT}answer = json.load(response)`,
    'for hit in answer["hits"]:',
    `${INDENT}print(hit["rank"], round(hit["score"], 3), hit["document_id"], hit["snippet"])`,
    "",
  ].join("\n");
}

/** `fusion` is a value of the library's own; all else has the names that it has over HTTP. */
export function inProcess({ query, fusion, ...options }, { collection }) {
  const given = Object.entries(options).map(([name, value]) => `${name}=${python(value)}`);
  if (fusion !== undefined) given.push(`fusion=Fusion(${Object.entries(fusion).map(([name, value]) => `${name}=${python(value)}`).join(", ")})`);
  const call = [query === undefined ? null : python(query), ...given].filter((one) => one !== null);
  return [
    "import outcrop",
    ...(fusion === undefined ? [] : ["from outcrop import Fusion"]),
    "",
    'with outcrop.open("kb") as db:  # the folder that is served',
    `${INDENT}hits = db.collection(${python(collection)}).search(`,
    ...call.map((one) => `${INDENT}${INDENT}${one},`),
    `${INDENT})`,
    `${INDENT}for hit in hits:`,
    `${INDENT}${INDENT}print(hit.rank, round(hit.score, 3), hit.document_id, hit.snippet)`,
    "",
  ].join("\n");
}

/** Show it, to be copied. */
export function showCode(body, about) {
  const ways = { curl: ["curl", curl], http: ["Python over HTTP", overHttp], library: ["Python, in process", inProcess] };
  dialog(
    "This search as code",
    () => {
      const code = h("code", {});
      const row = h("div", { class: "tabs", "aria-label": "Language" });
      const copy = h("button", { type: "button", class: "primary", on: { click: () => copied(code, copy) } }, "Copy");
      const note = about.wantsKey ? h("p", { class: "small" }, "Put the key into the environment as OUTCROP_KEY; it is not written here.") : null;
      const choose = (way) => {
        mark(way);
        refill(code, ways[way][1](body, about));
        copy.textContent = "Copy";
      };
      const mark = tabs(row, Object.entries(ways).map(([way, [title]]) => [way, title]), choose);
      choose("curl");
      return [h("div", { class: "dialog-body" }, row, h("pre", { class: "command", tabindex: 0 }, code), note), h("footer", {}, copy)];
    },
    { wide: true },
  );
}

/** Into the clipboard; where a page may not do that (over plain HTTP), the text is selected instead. */
async function copied(code, button) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
    announce("Copied");
  } catch {
    getSelection().selectAllChildren(code);
    button.textContent = "Selected: press Ctrl+C";
    announce("Selected, press Control C to copy");
  }
}
