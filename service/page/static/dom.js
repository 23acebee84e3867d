// Elements. Text is put in as text nodes, so that nothing a model wrote can become markup.

const SVG = "http://www.w3.org/2000/svg";

/** The element with this id, which the page is known to have. */
export const byId = (id) => document.getElementById(id);

/**
 * Makes an HTML element. An attribute that is null or false is left out; one whose name begins with "on" is a listener.
 * @param {string} tag
 * @param {Record<string, any>} attributes
 * @param {...(Node|string|null)} children
 */
export function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Puts new children in the place of all others. */
export function replace(node, ...children) {
  node.replaceChildren(...children.filter((child) => child !== null));
}

/**
 * While the panel is shown, Ctrl+Enter (on a Mac Cmd+Enter) submits the form and Escape stops what it began.
 * @param {HTMLElement} panel
 * @param {HTMLFormElement} form
 * @param {() => void} stop
 */
export function onShortcut(panel, form, stop) {
  document.addEventListener("keydown", (event) => {
    if (panel.hidden) return;
    if (event.key === "Escape") stop();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}
