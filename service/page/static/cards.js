// One card for each candidate: its text, reward, tokens and fate.

import { element, replace } from "./dom.js";
import { counted, reward } from "./format.js";

const FARTHEST_PX = 240; // a card that comes from below the window would else be out of sight on its way

/** The card of one candidate, which is updated in place while the candidate grows. */
export class Card {
  constructor(index) {
    this.node = element("li", { class: "card" });
    this._tags = element("span", { class: "tags" });
    this._reward = element("span", { class: "reward" });
    this._bar = element("span", { class: "bar", "aria-hidden": true }, element("i"));
    this._text = element("div", { class: "text" });
    this._facts = element("p", { class: "facts" });
    const number = element("span", { class: "number" }, `#${index}`);
    replace(this.node, element("h3", {}, number, this._tags, this._reward), this._bar, this._text, this._facts);
  }

  /**
   * @param {import("./candidates.js").Candidate} candidate
   * @param {{isFirst: boolean, range: [number, number]|null}} shown range: of all rewards that are known
   */
  update(candidate, { isFirst, range }) {
    const { state, fate, tokens } = candidate;
    this.node.dataset.state = fate ?? state;
    if (this._text.textContent !== candidate.text) this._text.textContent = candidate.text;
    this._reward.textContent = candidate.reward === null ? "" : reward(candidate.reward);
    this._reward.title = "Reward";
    replace(this._facts, `${counted(tokens, "token")} · ${this._fate(candidate)}`);
    replace(
      this._tags,
      fate === "returned" ? element("b", { class: "tag best" }, "★ best") : null,
      isFirst ? element("b", { class: "tag first", title: "What N = 1 would have said" }, "N = 1") : null,
    );
    this._place(candidate.reward, range);
  }

  _fate({ state, fate, reward: value, finishReason }) {
    const unscored = fate !== null && state === "finished" && value === null ? ", unscored" : "";
    const cut = finishReason === "length" ? ", cut off at its length" : "";
    const running = state === "finished" ? "finished" : "writing …";
    return (fate ?? running) + unscored + cut;
  }

  /** Where the reward lies between the lowest and the highest one. */
  _place(value, range) {
    this._bar.hidden = value === null || range === null;
    if (this._bar.hidden) return;
    const [low, high] = range;
    const share = high > low ? (value - low) / (high - low) : 1;
    this._bar.firstChild.style.width = `${4 + 96 * share}%`;
  }
}

/** The lowest and the highest reward, where there is any. */
export function rewardRange(candidates) {
  const rewards = candidates.map((candidate) => candidate.reward).filter((value) => value !== null);
  return rewards.length ? [Math.min(...rewards), Math.max(...rewards)] : null;
}

/** Does `change`, and lets people see where it moved `node` to, unless they asked for less motion. */
export function animateMove(node, change) {
  const before = node.getBoundingClientRect();
  change();
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  const now = node.getBoundingClientRect();
  const along = (from, to) => Math.max(-FARTHEST_PX, Math.min(FARTHEST_PX, from - to));
  const start = `translate(${along(before.left, now.left)}px, ${along(before.top, now.top)}px)`;
  node.animate([{ transform: start, opacity: 0.4 }, { transform: "none" }], { duration: 350, easing: "ease-out" });
}
