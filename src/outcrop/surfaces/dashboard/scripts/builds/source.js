// From what a generation is built: the documents there are, a source of the server's, or a file from here.

import { h } from "../dom.js";
import { choiceOrTyped, field, oneOf, text } from "../fields.js";
import { counted } from "../format.js";

export const FILE = "file";
const OWN = "own";
const SERVER = "server";

export function sourceChoice({ choices, active }) {
  const server = choices.sources === null ? null : ofTheServer(choices.sources);
  const file = upload();
  const own = active === null ? "The documents there are: none, as no generation is live" : `The ${counted(active.document_count, "document")} there are, made anew`;
  const none = "A source on the server: it was started without --source-folder, and reads none";
  const ways = oneOf(
    "From",
    [
      [OWN, own, null, { disabled: active === null }],
      [SERVER, server === null ? none : "A source on the server", server?.element ?? null, { disabled: server === null }],
      [FILE, "A file from here", file.element],
    ],
    { chosen: active === null ? FILE : OWN },
  );
  return {
    element: ways.element,
    way: ways.read,
    fields: () => ({ [OWN]: [], [SERVER]: [server], [FILE]: [file] })[ways.read()],
  };
}

function ofTheServer(sources) {
  const about = "JSON lines, CSV, Parquet, a folder of texts or of BEIR; a path below the folders that the server may read";
  const made =
    sources.length === 0
      ? text("source", "Path", { about })
      : choiceOrTyped("source", "File or folder", [...sources.map((one) => [one, one]), ["…", "another path …", { typed: "" }]], { about, typedLabel: "Path" });
  return { ...made, fault: () => (made.read() === null ? "Name a file or a folder." : null) };
}

function upload() {
  const input = h("input", { type: "file", accept: ".jsonl,.ndjson,.json,.gz,.bz2,.xz,.zst" });
  return field("file", "File of documents", input, {
    about: "A JSON object a line with id and text, plain or compressed",
    read: () => input.files[0] ?? null,
    fault: () => (input.files.length === 0 ? "Choose a file." : null),
  });
}
