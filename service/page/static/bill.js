// What a request cost, and what N = 1 would have said and cost.

import { element } from "./dom.js";
import { count, counted, dollars, milliseconds, reward, times } from "./format.js";

/**
 * The two panels below the winner.
 * @param {object} rerank the answer's `rerank` object
 * @param {import("./candidates.js").Candidate[]} candidates
 * @param {boolean} seeded whether the request had a seed
 */
export function verdict(rerank, candidates, seeded) {
  const whole = candidates[0].state === "finished"; // else a strategy stopped it early, and what N = 1 says is unknown
  const alone = candidates.length > 1 && whole ? nOne(rerank, candidates, seeded) : null;
  return element("div", { class: "verdict" }, ...[alone, bill(rerank)].filter(Boolean));
}

function nOne(rerank, candidates, seeded) {
  const first = candidates[0];
  const winner = candidates[rerank.selected[0]];
  const isWinner = winner.index === first.index;
  const [alone, together] = costs(rerank, first);
  const sampled = counted(candidates.length, "candidate");
  return element(
    "section",
    { class: "panel" },
    element("h2", {}, "N = 1 would have said"),
    isWinner
      ? element("p", { class: "same" }, "The same answer: the first sample won.")
      : element("div", { class: "text" }, first.text),
    element("p", { class: "quiet" }, whose(seeded) + difference(first, winner, isWinner)),
    element("p", {}, "It would have cost ", element("strong", {}, alone), `; the ${sampled} cost ${together}.`),
  );
}

const whose = (seeded) => `Candidate #0, ${seeded ? "which has the request's own seed" : "the first sample"}`;

function difference(first, winner, isWinner) {
  if (isWinner || first.reward === null || winner.reward === null) return ".";
  return `, reward ${reward(first.reward)}: best of N gained ${reward(winner.reward - first.reward)}.`;
}

/** What the first candidate alone costs, and what all did. */
function costs(rerank, first) {
  const all = rerank.tokens.generated;
  const price = dollarsOfOne(rerank, first);
  const share = first.tokens ? `, ${times(all / first.tokens)} as many tokens` : "";
  const [alone, together] = [counted(first.tokens, "token"), counted(all, "token")];
  if (price === null) return [alone, together + share];
  return [`${alone} and about ${dollars(price)}`, `${together} and ${dollars(rerank.cost.total)}${share}`];
}

/** The prompt, and the first candidate's part of what generation cost; nothing is scored at N = 1. */
function dollarsOfOne({ cost, tokens }, first) {
  if (!cost || !tokens.generated) return null;
  return (cost.prompt ?? 0) + ((cost.generate ?? 0) * first.tokens) / tokens.generated;
}

function bill(rerank) {
  const { tokens, timing, cost } = rerank;
  const cached = tokens.scored_cached ? `, ${count(tokens.scored_cached)} of them from its cache` : "";
  const { total_ms: totalMs, ...rest } = timing;
  const stages = Object.entries(rest).map(([name, ms]) => [name.replace("_ms", ""), ms]);
  return element(
    "section",
    { class: "panel" },
    element("h2", {}, "What it cost"),
    element(
      "dl",
      {},
      ...row("Tokens", `${count(tokens.generated)} generated, ${count(tokens.returned)} returned`),
      ...row("Prompt", counted(tokens.prompt, "token")),
      ...row("Scored", `${counted(tokens.scored, "token")} by the reward model${cached}`),
      ...row("Time", milliseconds(totalMs)),
      ...(cost ? row("Price", dollars(cost.total)) : []),
    ),
    stageBar(stages),
    cost ? parts(cost) : null,
  );
}

const row = (name, text) => [element("dt", {}, name), element("dd", {}, text)];

/** Time by stage, to scale, with its numbers below. */
function stageBar(stages) {
  const bar = element("div", { class: "stages", "aria-hidden": true });
  for (const [name, ms] of stages) {
    const part = element("i", { class: name });
    part.style.flexGrow = ms;
    bar.append(part);
  }
  const names = stages.map(([name, ms]) => element("li", { class: name }, `${name} ${milliseconds(ms)}`));
  return element("div", {}, bar, element("ul", { class: "legend" }, ...names));
}

function parts(cost) {
  const listed = Object.entries(cost).filter(([name]) => name !== "total");
  return element("p", { class: "quiet" }, listed.map(([name, value]) => `${name} ${dollars(value)}`).join(", "));
}
