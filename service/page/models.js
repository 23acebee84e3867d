// What /v1/models says: the names to ask for, and the largest N, from the aliases `<name>:best-of-<N>`.

import { byId } from "./dom.js";

const ALIAS = /^(.+):best-of-(\d+)$/;

/**
 * @param {{data: {id: string}[]}} listed
 * @returns {{models: string[], maxBestOf: number}}
 */
export function readCatalogue(listed) {
  const names = listed.data.map((model) => model.id);
  const aliases = names.map((name) => ALIAS.exec(name)).filter((match) => match && names.includes(match[1]));
  const aliased = new Set(aliases.map((match) => match[0]));
  return {
    models: names.filter((name) => !aliased.has(name)),
    maxBestOf: Math.max(1, ...aliases.map((match) => Number(match[2]))),
  };
}

/** The model to ask, as the person chose it; undefined leaves it to the server. */
export function chosenModel() {
  return byId("model").value || undefined;
}

/** 1, 2, 4, ... up to `most`. */
export function powersOfTwo(most) {
  return Array.from({ length: Math.floor(Math.log2(most)) + 1 }, (_, power) => 2 ** power);
}
