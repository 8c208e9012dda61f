// Small helpers by which all text of others reaches the page: as text, never as markup.

export const byId = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";

/** Write `text` into a node that holds nothing but text, if it differs. */
export function setText(node, text) {
  const wanted = String(text);
  const leaf = node.firstChild;
  if (leaf === null) {
    if (wanted !== "") node.append(wanted);
  } else if (leaf.nodeValue !== wanted) {
    leaf.nodeValue = wanted;
  }
}

/** Set an attribute, or remove it for null, if it differs. */
export function setAttribute(node, name, value) {
  if (value === null) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== value) {
    node.setAttribute(name, value);
  }
}

/** A new HTML element with a class and text. */
export function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

/** A new SVG element with attributes and, where given, text. */
export function drawn(name, attributes, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  if (text) made.textContent = text;
  return made;
}

/** `path` if it leads into this server's MLflow, else null. */
export function mlflowPath(path) {
  if (typeof path !== "string" || !path.startsWith("/mlflow/")) return null;
  const url = new URL(path, location.origin);
  const inside = url.origin === location.origin && url.pathname.startsWith("/mlflow/");
  return inside ? url.pathname + url.search + url.hash : null;
}

/** Whether the viewer asked for less motion. */
export const wantsStillness = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
