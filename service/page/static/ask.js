// The first view: a question, its candidates as they grow, the winner and the bill.

import { verdict } from "./bill.js";
import { ranked, settled, stopped, waiting, withProgress } from "./candidates.js";
import { Card, animateMove, rewardRange } from "./cards.js";
import { powersOfTwo } from "./chart.js";
import { complete, completionBody } from "./completion.js";
import { byId, element, onShortcut, replace } from "./dom.js";
import { counted, reward, seconds } from "./format.js";
import { showError } from "./problem.js";

export class AskView {
  /** @param {Promise<{models: string[], maxBestOf: number}>} catalogue */
  constructor(catalogue) {
    this._form = byId("ask-form");
    this._running = null;
    this._candidates = [];
    this._cards = [];
    this._form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask();
    });
    this._form.elements.best_of.addEventListener("input", () => this._showBestOf());
    byId("stop-button").addEventListener("click", () => this.stop());
    onShortcut(byId("ask"), this._form, () => this.stop());
    catalogue.then(({ maxBestOf }) => this._limit(maxBestOf));
  }

  /** The question as it stands. */
  get question() {
    return this._form.elements.question.value.trim();
  }

  /** System prompt and sampling as they are set; what is left open is the server's to decide. */
  get sampling() {
    const { system, strategy, temperature, max_tokens, seed } = this._form.elements;
    const numbers = Object.entries({ temperature, max_tokens, seed }).filter(([, input]) => input.value !== "");
    const given = numbers.map(([name, input]) => [name, Number(input.value)]);
    return { system: system.value.trim(), strategy: strategy.value, ...Object.fromEntries(given) };
  }

  async ask() {
    this.stop();
    const running = new AbortController();
    const bestOf = this._bestOf();
    const body = completionBody({ question: this.question, bestOf, ...this.sampling });
    this._begin(running, bestOf);
    try {
      const onProgress = (changes) => this._running === running && this._progress(changes);
      const rerank = await complete(body, { signal: running.signal, onProgress });
      if (this._running === running) this._finish(rerank, body.seed !== undefined);
    } catch (error) {
      if (!running.signal.aborted) this._fail(error);
    } finally {
      if (this._running === running) this._end();
    }
  }

  /** Closes the connection, which ends the work on the server. */
  stop() {
    if (this._running === null) return;
    this._running.abort();
    this._candidates = stopped(this._candidates);
    this._update();
    this._say("Stopped. The server has been told.");
    this._end();
  }

  // -- the course of a request

  _begin(running, bestOf) {
    this._running = running;
    byId("stop-button").disabled = false;
    showError(byId("ask-error"), null);
    replace(byId("winner"));
    replace(byId("verdict"));
    this._candidates = waiting(bestOf);
    this._cards = this._candidates.map(({ index }) => new Card(index));
    this._titleOthers("Candidates", true);
    replace(byId("others"), ...this._cards.map((card) => card.node));
    this._update();
    this._say(`${counted(bestOf, "candidate")} at work …`);
  }

  _progress(changes) {
    this._candidates = withProgress(this._candidates, changes);
    this._update();
    const finished = this._candidates.filter(({ state }) => state !== "running").length;
    this._say(`${finished} of ${counted(this._candidates.length, "candidate")} finished`);
  }

  _finish(rerank, seeded) {
    this._candidates = settled(rerank);
    const order = ranked(this._candidates).map(({ index }) => this._cards[index].node);
    for (const card of this._cards.slice(order.length)) card.node.remove();
    this._update();
    animateMove(order[0], () => {
      replace(byId("winner"), order[0]);
      replace(byId("verdict"), verdict(rerank, this._candidates, seeded));
      replace(byId("others"), ...order.slice(1));
      this._titleOthers("The other candidates", order.length > 1);
    });
    this._say(summary(rerank));
  }

  _fail(error) {
    this._candidates = stopped(this._candidates);
    if (this._candidates.some(({ tokens }) => tokens > 0)) this._update();
    else replace(byId("others"));
    this._titleOthers("Candidates", byId("others").hasChildNodes());
    this._say("No answer.");
    showError(byId("ask-error"), error);
  }

  _end() {
    this._running = null;
    byId("stop-button").disabled = true;
  }

  _update() {
    const range = rewardRange(this._candidates);
    for (const candidate of this._candidates) {
      const isFirst = candidate.index === 0 && this._candidates.length > 1;
      this._cards[candidate.index].update(candidate, { isFirst, range });
    }
  }

  // -- N and words

  _limit(maxBestOf) {
    const slider = this._form.elements.best_of;
    const powers = powersOfTwo(maxBestOf);
    slider.max = powers.length - 1;
    replace(this._form.querySelector(".ticks"), ...powers.map((power) => element("span", {}, String(power))));
    this._showBestOf();
  }

  _bestOf() {
    return 2 ** Number(this._form.elements.best_of.value);
  }

  _showBestOf() {
    byId("best-of-shown").textContent = this._bestOf();
    this._form.elements.best_of.setAttribute("aria-valuetext", counted(this._bestOf(), "candidate"));
  }

  _titleOthers(text, isShown) {
    byId("others-title").textContent = text;
    byId("others-title").hidden = !isShown;
  }

  _say(text) {
    byId("ask-status").textContent = text;
  }
}

function summary(rerank) {
  const time = seconds(rerank.timing.total_ms / 1000);
  const chosen = `Candidate #${rerank.selected[0]} ${whyChosen(rerank)} of ${rerank.sampled}`;
  if (rerank.reward === null) return `Answered in ${time}, without a reward (${rerank.stop_reason}).`;
  const text = rerank.sampled > 1 ? chosen : "One candidate, with the reward";
  return `${text}: ${reward(rerank.reward)}, after ${time}.${whyFewer(rerank)}`;
}

function whyChosen({ selection }) {
  return selection ? `was chosen by ${selection.pick}` : "has the highest reward";
}

/** Why not all N were sampled, or not all of them to their end. */
function whyFewer(rerank) {
  if (rerank.stop_reason === "price") return " Another one was not expected to be worth its price.";
  if (rerank.aborted > 0) return ` ${counted(rerank.aborted, "candidate")} stopped early.`;
  if (rerank.sampled < rerank.best_of) return " At temperature 0 all candidates would be equal, so one was sampled.";
  return "";
}
