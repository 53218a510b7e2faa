// With what a generation is made: every choice that the server has, and the live generation's for what is left as it is.

import { choice, choiceOrTyped, number } from "../fields.js";

/** `usual` fields stand in view, `rare` ones under More. */
export function recipeFields({ choices, active }) {
  const recipe = active?.recipe ?? null;
  const kept = (value) => (recipe === null ? "as the collection was made" : `as it is: ${value}`);
  const index = choice("index", "Vector index", [["", kept(recipe?.index.kind)], ["auto", "auto"], ...kindsOf(choices).map((one) => [one, one])], { about: "auto goes by the number of vectors and the recall that is wanted" });
  const engine = choice("engine", "Engine", [["", `as the mode says: ${choices.engines.find((one) => one.usual).name}`], ...choices.engines.map(availableOf)]);
  const suit = () => {
    const chosen = choices.engines.find((one) => (engine.input.value === "" ? one.usual : one.name === engine.input.value));
    for (const option of index.input.options) option.disabled = !["", "auto", ...chosen.index_kinds].includes(option.value);
    if (index.input.selectedOptions[0]?.disabled) index.input.value = "";
  };
  engine.input.addEventListener("change", suit);
  suit();
  return {
    usual: [
      choiceOrTyped("embedder", "Embedder", [["", kept(recipe?.embedder?.spec ?? "none")], ...embedders(choices)], { typedLabel: "Embedder, with its model or size" }),
      choiceOrTyped("chunker", "Chunker", [["", kept(recipe?.chunker)], ...choices.chunkers.map((one) => [one, one]), ["…", "with sizes …", { typed: "tokens:320/48" }]], { typedLabel: "Chunker, with its size and overlap" }),
      choice("analyzer", "Analyzer", [["", kept(recipe?.analyzer)], ...choices.analyzers.map((one) => [one, one])]),
    ],
    rare: [
      engine,
      index,
      number("target_recall", "Wanted recall", { min: 0.01, max: 1, step: "any", placeholder: kept(recipe?.goal.target_recall), about: "of the ten nearest" }),
      choice("optimize_for", "Least, of the indexes that reach it", [["", kept(recipe?.goal.optimize_for)], ...choices.optimize_for.map((one) => [one, WORDS[one] ?? one])]),
    ],
  };
}

const WORDS = { latency: "time of a search", memory: "memory", build: "time to build" };
const TYPED = { openai: ["a model of OpenAI's API, here or there …", "openai:"], hashing: ["hashing, for tests …", "hashing:256"] };

const kindsOf = ({ engines }) => [...new Set(engines.flatMap((one) => one.index_kinds))];

const availableOf = ({ name, available, reason }) => [name, available ? name : `${name}: ${reason}`, { disabled: !available }];

function embedders({ embedders: known }) {
  return known.map((one) => {
    const [value, words, state] = availableOf(one);
    const [told, typed] = TYPED[one.name] ?? [];
    return typed === undefined ? [value, value === "none" ? "none: words alone" : words, state] : [value, one.available ? told : words, { ...state, typed }];
  });
}
