// What is known of each candidate. Pure: changes in, values out.

/**
 * @typedef {object} Candidate
 * @property {number} index
 * @property {"running"|"finished"|"aborted"|"failed"} state
 * @property {number} tokens
 * @property {number|null} reward
 * @property {string} text
 * @property {string|null} finishReason "length" where it was cut off
 * @property {string|null} fate returned, rejected, aborted, failed; null while the request runs
 */

/** `bestOf` candidates of which nothing is known yet. @returns {Candidate[]} */
export function waiting(bestOf) {
  return Array.from({ length: bestOf }, (_, index) => ({
    index, state: "running", tokens: 0, reward: null, text: "", finishReason: null, fate: null,
  }));
}

/** The candidates after a comment of progress. @returns {Candidate[]} */
export function withProgress(candidates, changes) {
  const changed = new Map(changes.map((change) => [change.index, change]));
  return candidates.map((candidate) => {
    const { delta = "", ...known } = changed.get(candidate.index) ?? {};
    return { ...candidate, ...known, text: candidate.text + delta };
  });
}

/** The candidates as the answer's `rerank` object tells them. @returns {Candidate[]} */
export function settled(rerank) {
  return rerank.candidates.map((told) => {
    const fate = fateOf(told, rerank.selected);
    return {
      index: told.index,
      state: { returned: "finished", rejected: "finished" }[fate] ?? fate,
      tokens: told.completion_tokens,
      reward: told.reward,
      text: told.text ?? "",
      finishReason: told.finish_reason,
      fate,
    };
  });
}

/** What was still running when the person stopped. @returns {Candidate[]} */
export function stopped(candidates) {
  return candidates.map((candidate) => ({
    ...candidate,
    fate: candidate.state === "running" ? "aborted" : (candidate.fate ?? "rejected"),
    state: candidate.state === "running" ? "aborted" : candidate.state,
  }));
}

/** Best first: what was returned, then by reward, what has none last. @returns {Candidate[]} */
export function ranked(candidates) {
  const key = ({ fate, reward }) => (fate === "returned" ? Infinity : (reward ?? -Infinity));
  return [...candidates].sort((a, b) => (key(a) === key(b) ? a.index - b.index : key(b) - key(a)));
}

function fateOf(told, selected) {
  if (selected.includes(told.index)) return "returned";
  if (told.aborted_at_tokens !== undefined) return "aborted";
  return told.finish_reason === null || told.finish_reason === "error" ? "failed" : "rejected";
}
