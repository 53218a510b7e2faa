// Fields of forms: a label, an input, what it is for, and below it what is wrong with it.

import { h, uniqueId } from "./dom.js";

/**
 * A field. `about` says below it what it means, `whole` gives it a row of its own, `rest` are elements that belong to it. `read`
 * gives its value, or null where nothing is said; `fault` says what is wrong besides what the browser knows, or null.
 */
export function field(name, label, input, { about = null, whole = false, rest = [], read = () => input.value.trim() || null, fault = () => null } = {}) {
  input.id = uniqueId("field");
  const hint = about === null ? null : h("p", { class: "small", id: `${input.id}-about` }, about);
  const told = h("p", { class: "field-error", role: "alert", id: `${input.id}-error`, hidden: true });
  input.setAttribute("aria-describedby", hint === null ? told.id : `${hint.id} ${told.id}`);
  const element = h("div", { class: whole ? "field whole" : "field", data: { field: name } }, h("label", { for: input.id }, label), input, rest, hint, told);
  const complain = (words) => {
    told.hidden = words === null;
    told.textContent = words ?? "";
    if (words === null) input.removeAttribute("aria-invalid");
    else input.setAttribute("aria-invalid", "true");
  };
  element.addEventListener("input", () => complain(null));
  return { name, element, input, complain, read, fault, focus: () => input.focus() };
}

export const text = (name, label, { placeholder = "", ...more } = {}) => field(name, label, h("input", { placeholder, autocomplete: "off", spellcheck: "false" }), more);

export function number(name, label, { min, max = null, step = 1, placeholder = "", value = "", ...more }) {
  const input = h("input", { type: "number", inputmode: "decimal", min, max, step, placeholder, value });
  return field(name, label, input, { ...more, read: () => (input.value === "" ? null : Number(input.value)) });
}

/** `options` are [value, text] pairs, or [value, text, attributes]. */
export function choice(name, label, options, more = {}) {
  return field(name, label, h("select", {}, options.map(optionOf)), more);
}

const optionOf = ([value, words, attributes = {}]) => h("option", { value, ...attributes }, words);

/** A choice in which an option may stand for what is typed beside it: `typed` in its attributes is what that begins with. */
export function choiceOrTyped(name, label, options, { typedLabel, ...more }) {
  const begins = new Map(options.filter(([, , attributes]) => attributes?.typed !== undefined).map(([value, , { typed }]) => [value, typed]));
  const select = h("select", {}, options.map(([value, words, { typed: _, ...attributes } = {}]) => optionOf([value, words, attributes])));
  const typed = h("input", { "aria-label": typedLabel, autocomplete: "off", spellcheck: "false", hidden: true });
  const made = field(name, label, select, {
    ...more,
    rest: [typed],
    read: () => (typed.hidden ? select.value : typed.value.trim()) || null,
    fault: () => (!typed.hidden && typed.value.trim() === "" ? "Say which." : null),
  });
  typed.setAttribute("aria-describedby", select.getAttribute("aria-describedby"));
  select.addEventListener("change", () => {
    typed.hidden = !begins.has(select.value);
    if (typed.hidden) return;
    typed.value = begins.get(select.value);
    typed.focus();
  });
  return { ...made, focus: () => (typed.hidden ? select : typed).focus() };
}

export function check(name, label, { about = null } = {}) {
  const input = h("input", { type: "checkbox", id: uniqueId("field") });
  const hint = about === null ? null : h("span", { class: "small" }, about);
  const told = h("p", { class: "field-error", role: "alert", hidden: true });
  const complain = (words) => {
    told.hidden = words === null;
    told.textContent = words ?? "";
  };
  const element = h("div", { class: "field-check", data: { field: name }, on: { input: () => complain(null) } }, h("label", { class: "row", for: input.id }, input, h("span", {}, label, hint === null ? null : " ", hint)), told);
  return { name, element, input, complain, read: () => input.checked || null, fault: () => null, focus: () => input.focus() };
}

/** One of several, of which each may show more when it is chosen: [value, label, element or null] triples. */
export function oneOf(legend, ways, { chosen, changed = () => {} }) {
  const name = uniqueId("ways");
  let now = chosen;
  const radios = ways.map(([value, label, more, { disabled = false } = {}]) => {
    const input = h("input", { type: "radio", name, value, id: uniqueId("way"), checked: value === chosen, disabled });
    const shown = more === null ? null : h("div", { class: "way-more", hidden: value !== chosen }, more);
    input.addEventListener("change", () => choose(value));
    return { value, shown, input, element: [h("label", { class: "row", for: input.id }, input, label), shown] };
  });
  const choose = (value) => {
    now = value;
    for (const one of radios) {
      one.input.checked = one.value === value;
      if (one.shown !== null) one.shown.hidden = one.value !== value;
    }
    changed(value);
  };
  return { element: h("fieldset", { class: "ways" }, h("legend", {}, legend), radios.map((one) => one.element)), choose, read: () => now };
}

/** Whether nothing is wrong with these fields. What is, is told at each, and the first gets the focus. */
export function areRight(fields) {
  const wrong = fields.filter((one) => {
    const words = one.input.validity.valid ? one.fault() : one.input.validationMessage;
    one.complain(words);
    return words !== null;
  });
  if (wrong.length > 0) reveal(wrong[0]);
  return wrong.length === 0;
}

/** Show what the server refused at the field that it is about; whether there is one. */
export function claimed(fields, error) {
  const found = fields.find((one) => one.name === error.body?.key);
  if (found === undefined) return false;
  found.complain(error.detail ?? error.title);
  reveal(found);
  return true;
}

/** What the fields say, without those that say nothing. */
export const valuesOf = (fields) => Object.fromEntries(fields.map((one) => [one.name, one.read()]).filter(([, value]) => value !== null));

function reveal({ element, focus }) {
  for (let around = element.closest("details"); around !== null; around = around.parentElement.closest("details")) around.open = true;
  focus();
  element.scrollIntoView({ block: "nearest" });
}
