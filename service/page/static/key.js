// The API key: asked for when the server wants one, kept for this tab only.

import { byId } from "./dom.js";

const NAME = "bestofn-api-key";
let asking = null;

/** The headers that carry the key, where there is one. */
export function keyHeaders() {
  const key = sessionStorage.getItem(NAME);
  return key ? { authorization: `Bearer ${key}` } : {};
}

/**
 * Asks the person for a key, once for all requests that wait for it.
 * @returns {Promise<boolean>} whether there is a new one
 */
export function askForKey() {
  asking ??= ask().finally(() => {
    asking = null;
  });
  return asking;
}

function ask() {
  const dialog = byId("key-dialog");
  const input = byId("key");
  if (sessionStorage.getItem(NAME)) byId("key-reason").textContent = "The server refused this key. Try another one.";
  sessionStorage.removeItem(NAME);
  input.value = "";
  dialog.returnValue = "";
  dialog.querySelector("form").onsubmit = (event) => {
    event.preventDefault();
    sessionStorage.setItem(NAME, input.value.trim());
    dialog.close("given");
  };
  byId("key-cancel").onclick = () => dialog.close();
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "given"), { once: true });
  });
}
