// One question to the server, with every candidate told while it grows.

import { byId } from "./dom.js";
import { ServerError, call } from "./server.js";
import { events } from "./stream.js";

/**
 * The parts of a request that both asking views share, the chosen model among them.
 * @param {{question: string, system?: string, strategy?: string, bestOf: number}} asked
 */
export function completionBody({ question, system, strategy, bestOf, ...sampling }) {
  const model = byId("model").value || undefined; // undefined leaves it to the server
  const messages = conversation(question, system);
  const rerank = { return_candidates: true, ...(strategy ? { strategy } : {}) };
  return { model, messages, best_of: bestOf, rerank, ...sampling };
}

/** The conversation up to the answer. */
export function conversation(question, system) {
  const asked = { role: "user", content: question };
  return system ? [{ role: "system", content: system }, asked] : [asked];
}

/**
 * Streams a completion.
 * @param {object} body of the request, without `stream`
 * @param {{signal: AbortSignal, onProgress: (changes: object[]) => void}} options
 * @returns {Promise<object>} the answer's `rerank` object
 * @throws {ServerError} when the server refuses, or gives up in the middle
 */
export async function complete(body, { signal, onProgress }) {
  const rerank = { ...body.rerank, progress: true };
  const response = await call("v1/chat/completions", { body: { ...body, rerank, stream: true }, signal });
  let report = null;
  for await (const { kind, text } of events(response.body)) {
    if (kind === "comment" && text.startsWith("{")) onProgress(JSON.parse(text).candidates);
    if (kind === "data" && text !== "[DONE]") report = read(text) ?? report;
  }
  if (report === null) throw new ServerError(0, { message: "The stream ended before the answer was complete." });
  return report;
}

function read(text) {
  const chunk = JSON.parse(text);
  if (chunk.error) throw new ServerError(0, chunk.error);
  return chunk.rerank;
}
