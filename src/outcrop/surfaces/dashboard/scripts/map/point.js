// What a point of the map is: its document, as it was written.

import { ask, of } from "../api.js";
import { h, refill } from "../dom.js";
import { plain } from "../format.js";
import { failure, loading } from "../notices.js";

/** A card that fills itself; `closed` is called when it is put away. */
export function pointCard(collection, chunkId, closed) {
  const documentId = chunkId.slice(0, chunkId.lastIndexOf("#"));
  const body = h("div", {}, loading("Reading the document"));
  ask(of(collection, "documents", "get"), { body: { ids: [documentId] } }).then(
    ({ documents: [found] }) => refill(body, found === undefined ? h("p", {}, "It is not in the active generation any more.") : content(found)),
    (error) => refill(body, failure(error)),
  );
  return [
    h("div", { class: "row apart" }, h("h2", {}, "Chunk ", h("code", {}, chunkId)), h("button", { type: "button", class: "quiet", "aria-label": "Put away", on: { click: closed } }, "✕")),
    body,
  ];
}

const content = (found) => [
  h("h3", {}, found.title ?? found.id),
  h("dl", { class: "facts" }, [...(found.source ? [["source", found.source]] : []), ...Object.entries(found.metadata)].map(([name, value]) => [h("dt", {}, name), h("dd", {}, plain(value, 300))])),
  h("p", { class: "whole-text" }, found.text),
];
