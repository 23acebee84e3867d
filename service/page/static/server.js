// Requests to the server. Addresses are relative, so that the page works below any root path.

import { askForKey, keyHeaders } from "./key.js";

/** What the server answered instead of what was asked for. */
export class ServerError extends Error {
  /**
   * @param {number} status of HTTP; 0 inside a stream
   * @param {{message?: string, param?: string|null}} error OpenAI's error object
   * @param {number|null} retryAfterS seconds after which the server can be asked again
   */
  constructor(status, error, retryAfterS = null) {
    super(error.message || `HTTP ${status}`);
    this.status = status;
    this.param = error.param ?? null;
    this.retryAfterS = retryAfterS;
  }
}

/**
 * A GET, or a POST where there is a body. Asks for the API key where the server does.
 * @param {string} path relative to the page
 * @param {{body?: object, signal?: AbortSignal}} options
 * @returns {Promise<Response>}
 * @throws {ServerError} for any status that is not a success
 */
export async function call(path, { body, signal } = {}) {
  const response = await fetch(path, {
    method: body ? "POST" : "GET",
    headers: { ...(body ? { "content-type": "application/json" } : {}), ...keyHeaders() },
    body: body && JSON.stringify(body),
    signal,
    cache: "no-store",
  });
  if (response.ok) return response;
  const error = await refusal(response);
  if (response.status === 401 && (await askForKey())) return call(path, { body, signal });
  throw error;
}

/** The same, with the answer read as JSON. */
export async function callJson(path, options) {
  return (await call(path, options)).json();
}

async function refusal(response) {
  const text = await response.text();
  const after = response.headers.get("retry-after");
  return new ServerError(response.status, errorOf(text), after === null ? null : Number(after));
}

function errorOf(text) {
  try {
    return JSON.parse(text).error ?? {};
  } catch {
    return { message: text.slice(0, 500) };
  }
}
