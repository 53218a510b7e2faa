// Puts a generation live, or goes back to one, after a question that says what will happen.

import { ask, of } from "../api.js";
import { confirmed } from "../dialogs.js";
import { h } from "../dom.js";
import { counted, seconds } from "../format.js";
import { failure, warning } from "../notices.js";
import { report } from "./report.js";

/** The generation that is active now, or null if the person turned away. */
export function promoted({ collection, generation, active }) {
  const force = h("input", { type: "checkbox", id: "force" });
  const behind = active === null ? 0 : active.sequence - generation.sequence;
  return confirmed(
    `Put generation ${generation.number} live?`,
    [
      h(
        "p",
        {},
        active === null ? "Searches see it from then on." : `It takes the place of generation ${active.number}, in one step: a search that has begun ends where it began.`,
        behind > 0 ? ` It first catches up with what was written since it was built.` : "",
      ),
      active === null ? null : changes(generation, active),
      h("p", { class: "small" }, "A promotion that would lose more than a tenth of the documents is refused."),
      h("label", { class: "row", for: "force" }, force, "Whatever the gate says (this is recorded)"),
    ],
    {
      label: "Promote",
      act: () => ask(of(collection, "generations", generation.number, "promote"), { body: { force: force.checked } }),
      told: refused,
    },
  );
}

/** Back to generation `to`, or with null to the one before. */
export async function rolledBack({ collection, to, active }) {
  const target = to === null ? {} : { to };
  let plan = null;
  let refusal = null;
  try {
    plan = await ask(of(collection, "rollback"), { body: { ...target, dry_run: true } });
  } catch (error) {
    refusal = error;
  }
  if (refusal !== null) {
    return confirmed("Roll back?", failure(refusal), { label: "Try all the same", act: () => ask(of(collection, "rollback"), { body: target }) });
  }
  return confirmed(
    `Roll back to generation ${plan.generation}?`,
    [
      h("p", {}, `It takes the place of generation ${active.number}, with every write since in it. A second rollback leads here again.`),
      h(
        "dl",
        { class: "facts" },
        [
          ["Writes to apply", counted(plan.entries, "entry", "entries")],
          ["To embed anew", counted(plan.embedded_documents, "document")],
          ["Takes about", seconds(plan.seconds)],
        ].map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
      ),
      plan.embedded_documents > 0 ? warning("Documents are embedded with that generation's embedder, which may cost money.") : null,
      plan.lexical_documents > 0 ? warning(`${counted(plan.lexical_documents, "document")} cannot be embedded: ${plan.reason ?? "their vectors would have to be given"}. The server refuses it therefore.`) : null,
    ],
    { label: "Roll back", act: () => ask(of(collection, "rollback"), { body: target }), told: refused },
  );
}

/** A refusal, with the gate's report where a gate refused. */
function refused(error) {
  return error.body?.report ? [failure(error), report(error.body.report)] : failure(error);
}

function changes(next, now) {
  const rows = [
    ["documents", now.document_count, next.document_count],
    ["chunks", now.chunk_count, next.chunk_count],
    ["embedder", now.recipe.embedder?.spec ?? "none", next.recipe.embedder?.spec ?? "none"],
    ["chunker", now.recipe.chunker, next.recipe.chunker],
    ["analyzer", now.recipe.analyzer, next.recipe.analyzer],
  ];
  return h(
    "table",
    {},
    h("thead", {}, h("tr", {}, ["", `${now.number}, active`, `${next.number}`].map((one) => h("th", { scope: "col" }, one)))),
    h("tbody", {}, rows.map(([name, a, b]) => h("tr", { class: a === b ? "" : "differs" }, h("th", { scope: "row" }, name), h("td", {}, a), h("td", {}, b)))),
  );
}
