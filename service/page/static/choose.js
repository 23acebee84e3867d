// The third view: a person says which of two answers is better, and the server keeps it for the trainers.

import { settled } from "./candidates.js";
import { completionBody } from "./completion.js";
import { byId, element, onShortcut, replace } from "./dom.js";
import { counted, percent, reward } from "./format.js";
import { drawPair, opinion } from "./pair.js";
import { showError } from "./problem.js";
import { call, callJson } from "./server.js";
import { wilson } from "./statistics.js";

const SAMPLES = 4;
const KEYS = { 1: 0, 2: 1, 0: "tie", s: "skip", n: "next" };
const NO_CANDIDATE_LOG = 409;
const WORDS = {
  agrees: "The reward model agrees",
  disagrees: "The reward model disagrees",
  tie: "You call it a tie; the reward model's word",
  undecided: "The reward model gives both the same reward",
  unscored: "The reward model has not scored both",
};

export class ChooseView {
  /**
   * @param {Promise<{maxBestOf: number}>} catalogue
   * @param {import("./ask.js").AskView} ask whose question and sampling are taken
   */
  constructor(catalogue, ask) {
    this._catalogue = catalogue;
    this._ask = ask;
    this._pair = null;
    this._offers = 0; // how many there were: what becomes of an earlier one is not shown beside a later one
    this._sampling = null;
    this._counts = { agrees: 0, disagrees: 0, kept: 0 };
    byId("choose-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.sample();
    });
    onShortcut(byId("choose"), byId("choose-form"), () => this._sampling?.abort());
    document.addEventListener("keydown", (event) => this._key(event));
  }

  /** Says first whether a choice would be kept at all. */
  async show() {
    if (byId("choose-question").value === "") byId("choose-question").value = this._ask.question;
    try {
      await callJson("v1/preferences");
      showError(byId("choose-notice"), null);
      byId("choose-form").hidden = false;
    } catch (error) {
      byId("choose-form").hidden = true;
      if (error.status === NO_CANDIDATE_LOG) replace(byId("choose-notice"), howToKeepChoices());
      else showError(byId("choose-notice"), error);
    }
  }

  hide() {
    this._sampling?.abort();
  }

  async sample() {
    this._sampling?.abort();
    const sampling = (this._sampling = new AbortController());
    this._clear(`Sampling …`);
    try {
      const { body, response } = await this._request(sampling.signal);
      const { rerank } = await response.json();
      this._offer(body, drawPair(settled(rerank)), response.headers.get("x-request-id"));
    } catch (error) {
      if (this._sampling !== sampling) return; // another request has taken its place
      this._say(sampling.signal.aborted ? "Stopped." : "No answers.");
      if (!sampling.signal.aborted) showError(byId("choose-error"), error);
    }
  }

  async _request(signal) {
    const { seed: _, ...sampling } = this._ask.sampling; // the same seed would bring the same pair each time
    const bestOf = Math.min(SAMPLES, (await this._catalogue).maxBestOf);
    const question = byId("choose-question").value.trim();
    const body = completionBody({ question, bestOf, ...sampling, strategy: "best_of_n" });
    return { body, response: await call("v1/chat/completions", { body, signal }) };
  }

  _offer(body, pair, requestId) {
    if (pair === null) {
      this._say("All answers are the same. Sample again, or ask something harder.");
      return;
    }
    this._pair = { prompt: body.messages, model: body.model, requestId, answers: pair };
    replace(byId("pair"), ...pair.map(({ text }, place) => this._answer(text, place)), this._otherChoices());
    this._say("Which one is better? Keys: 1, 2, 0 for a tie, s to skip.");
    byId("pair").querySelector("h3").focus();
  }

  _answer(text, place) {
    return element(
      "article",
      { class: "card answer" },
      element("h3", { tabindex: -1 }, `Answer ${place + 1}`),
      element("div", { class: "text" }, text),
      this._button(place, `${place + 1} is better`, String(place + 1)),
    );
  }

  _otherChoices() {
    const buttons = [this._button("tie", "Equally good", "0"), this._button("skip", "Skip", "s")];
    return element("div", { class: "actions" }, ...buttons);
  }

  _button(choice, text, key) {
    const attributes = { type: "button", onclick: () => this.choose(choice) };
    return element("button", attributes, text, " ", element("kbd", {}, key));
  }

  /** @param {0|1|"tie"|"skip"|"next"} choice */
  async choose(choice) {
    if (choice === "next" || choice === "skip") return this.sample();
    const [pair, offer] = [this._pair, this._offers];
    if (pair === null) return;
    this._pair = null; // a choice is made once
    this._disable(true);
    const rewards = pair.answers.map((answer) => answer.reward);
    try {
      await callJson("v1/preferences", { body: this._preference(pair, choice, rewards) });
      const said = opinion(rewards, choice);
      this._count(said);
      if (offer === this._offers) this._kept(choice, rewards, said);
    } catch (error) {
      showError(byId("choose-error"), error);
      if (offer === this._offers) this._offerAgain(pair);
    }
  }

  _offerAgain(pair) {
    this._pair = pair;
    this._disable(false);
    this._say("Not stored. Choose again when the cause is gone.");
  }

  _preference({ prompt, model, requestId, answers }, choice, rewards) {
    const annotator = byId("annotator").value.trim();
    const responses = answers.map(({ text }) => text);
    return { prompt, responses, choice, model, request_id: requestId, rewards, ...(annotator ? { annotator } : {}) };
  }

  _count(said) {
    this._counts.kept += 1;
    if (said in this._counts) this._counts[said] += 1;
    byId("agreement").textContent = agreement(this._counts);
  }

  _kept(choice, rewards, said) {
    showError(byId("choose-error"), null);
    const articles = [...byId("pair").querySelectorAll("article")];
    articles.forEach((article, place) => article.classList.toggle("chosen", place === choice));
    this._say("Stored.");
    const numbers = rewards.map((value, place) => `${reward(value)} for ${place + 1}`).join(", ");
    const words = element("p", { class: said }, element("strong", {}, `${WORDS[said]}: `), numbers, ".");
    const attributes = { type: "button", class: "primary", onclick: () => this.sample() };
    const next = element("button", attributes, "Another pair ", element("kbd", {}, "n"));
    replace(byId("choose-verdict"), words, next);
    next.focus();
  }

  _key(event) {
    if (byId("choose").hidden) return;
    const isTyping = event.target.matches("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey;
    const choice = KEYS[event.key];
    const isOffered = choice === "next" ? byId("choose-verdict").hasChildNodes() : this._pair !== null;
    if (!isTyping && choice !== undefined && isOffered) this.choose(choice);
  }

  _disable(isDisabled) {
    for (const button of byId("pair").querySelectorAll("button")) button.disabled = isDisabled;
  }

  _clear(text) {
    this._pair = null;
    this._offers += 1;
    showError(byId("choose-error"), null);
    replace(byId("pair"));
    replace(byId("choose-verdict"));
    this._say(text);
  }

  _say(text) {
    byId("choose-status").textContent = text;
  }
}

function howToKeepChoices() {
  const command = element("code", {}, "bestofn serve --candidate-log DIR");
  const verb = element("code", {}, 'make serve ARGS="--candidate-log DIR"');
  return element(
    "div",
    { class: "notice" },
    element("p", {}, "This server keeps no candidate log, so a choice would be lost."),
    element("p", {}, "To collect choices, start it with a folder for them, ", command, " or ", verb, ", and reload."),
    element("p", {}, "To compare answers without keeping anything, open ", element("a", { href: "#ask" }, "Ask"), "."),
  );
}

function agreement({ agrees, disagrees, kept }) {
  const judged = agrees + disagrees;
  if (judged === 0) return `${counted(kept, "choice")} stored.`;
  const [low, high] = wilson(agrees, judged).map(percent);
  const share = `${percent(agrees / judged)}; 95 % interval ${low} to ${high}`;
  return `${counted(kept, "choice")} stored. The reward model agreed with ${agrees} of ${judged} (${share}).`;
}
