// Two answers to choose between, and what the reward model thinks of the choice. Pure.

/**
 * Two candidates with different texts, in random order; null where all say the same.
 * @param {import("./candidates.js").Candidate[]} candidates
 */
export function drawPair(candidates, random = Math.random) {
  const finished = candidates.filter(({ state }) => state === "finished");
  const distinct = [...new Map(finished.map((candidate) => [candidate.text, candidate])).values()];
  if (distinct.length < 2) return null;
  return shuffled(distinct, random).slice(0, 2);
}

/**
 * What the reward model says of a choice.
 * @param {[number|null, number|null]} rewards
 * @param {0|1|"tie"} choice
 * @returns {"agrees"|"disagrees"|"tie"|"undecided"|"unscored"} tie: the person's; undecided: the reward model's
 */
export function opinion(rewards, choice) {
  if (rewards.includes(null)) return "unscored";
  if (choice === "tie") return "tie";
  if (rewards[0] === rewards[1]) return "undecided";
  return rewards[choice] > rewards[1 - choice] ? "agrees" : "disagrees";
}

function shuffled(items, random) {
  const left = [...items];
  return items.map(() => left.splice(Math.floor(random() * left.length), 1)[0]);
}
