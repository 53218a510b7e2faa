// From what the form holds to the body of a search, and back to what is worth keeping in the address.

/** What a form begins with; a value that is the same as here is not kept in the address. */
export const DEFAULTS = { q: "", where: "", k: "10", fusion: "weighted", weight: "", candidates: "100", per_document: "1", generation: "", cache: "" };

/** What is tried out here is not what people search for: the query log, and so insights and their advice, has nothing of it. */
export const UNLOGGED = { log: false };

/** Only what differs from the beginning. */
export const worthKeeping = (values) =>
  Object.fromEntries(Object.entries(values).filter(([name, value]) => value !== "" && value !== DEFAULTS[name]));

/** The body of a search in one mode. What is as the server has it anyway is left out, so that the copied code stays short. */
export function request(mode, values, vector) {
  const all = { ...DEFAULTS, ...values };
  const body = { mode, k: Number(all.k), explain: true };
  if (all.q.trim() !== "") body.query = all.q;
  if (vector !== null && mode !== "lexical") body.vector = vector;
  if (all.where.trim() !== "") body.where = all.where;
  if (all.candidates !== DEFAULTS.candidates) body.candidates = Number(all.candidates);
  if (all.per_document !== DEFAULTS.per_document) body.per_document = Number(all.per_document);
  if (all.generation !== "") body.generation = Number(all.generation);
  if (all.cache === "off") body.cache = false;
  if (mode === "hybrid") {
    const fusion = {};
    if (all.fusion !== DEFAULTS.fusion) fusion.method = all.fusion;
    if (all.weight !== "") fusion.vector_weight = Number(all.weight);
    if (Object.keys(fusion).length > 0) body.fusion = fusion;
  }
  return body;
}
