// What /v1/models says: the names to ask for, and the largest N, from the aliases `<name>:best-of-<N>`.

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
