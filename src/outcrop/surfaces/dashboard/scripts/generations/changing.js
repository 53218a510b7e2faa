// Goes back to an earlier generation, after a question that says what will happen.

import { ask, of } from "../api.js";
import { confirmed } from "../dialogs.js";
import { h } from "../dom.js";
import { counted, seconds } from "../format.js";
import { failure, warning } from "../notices.js";
import { report } from "./report.js";

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

/** A refusal; where a gate refused, with its report, which tells all that the message does. */
export function refused(error) {
  const found = error.body?.report;
  if (!found) return failure(error);
  const failed = found.checks.filter((one) => !one.passed).length;
  const { title, status, requestId } = error;
  return [failure({ title, status, requestId, detail: `${failed} of ${counted(found.checks.length, "check")} failed.` }), report(found)];
}
