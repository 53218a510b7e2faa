// Elements are built here and nowhere else. Text is always a text node: what a document holds can never become markup.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element with attributes and children. Children are elements, texts and numbers; null and false are left out, arrays opened.
 * `on` maps events to listeners, `style` properties to values, `data` to data attributes. An attribute that is null or false is
 * left out, one that is true stands alone. `value` and `checked` are set as properties.
 */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** As `h`, for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** Put children in the place of all that an element holds. */
export function refill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter(isShown));
  return element;
}

/** The element of the page with this id. */
export const byId = (id) => document.getElementById(id);

let numbered = 0;

/** An id that no other element has. */
export const uniqueId = (prefix) => `${prefix}-${(numbered += 1)}`;

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) set(element, name, value);
  element.append(...children.flat(Infinity).filter(isShown));
  return element;
}

function set(element, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
  else if (name === "style") for (const [property, one] of Object.entries(value)) element.style.setProperty(property, one);
  else if (name === "data") Object.assign(element.dataset, value);
  else if (name === "value" || name === "checked") element[name] = value;
  else element.setAttribute(name, value === true ? "" : String(value));
}

const isShown = (child) => child !== null && child !== undefined && child !== false;
