// What this server's metrics say of each N. Pure: samples in, numbers out.

import { histograms } from "./metrics.js";
import { quantile } from "./statistics.js";

/**
 * @typedef {object} Row
 * @property {number} n a power of two: the requests that asked for more than half of it and at most all of it
 * @property {number} requests
 * @property {number} p50 seconds
 * @property {number} p95 seconds
 * @property {number} tokens per request
 * @property {number|null} dollars per request; null without prices
 * @property {number|null} selected mean reward of what was returned; null where nothing was scored
 * @property {number|null} mean mean reward of all candidates
 * @property {number|null} gain mean of selected minus mean
 */

/** One row for each N with requests, ascending. @returns {Row[]} */
export function byN(samples) {
  const durations = histograms(samples, "bestofn_request_duration_seconds", "best_of");
  const means = {
    tokens: histograms(samples, "bestofn_tokens_per_request", "best_of"),
    dollars: histograms(samples, "bestofn_cost_per_request_dollars", "best_of"),
    selected: histograms(samples, "bestofn_reward", "best_of", { which: "selected" }),
    mean: histograms(samples, "bestofn_reward", "best_of", { which: "mean" }),
    gain: histograms(samples, "bestofn_reward_gain", "best_of"),
  };
  return [...durations]
    .filter(([, { count }]) => count > 0)
    .map(([label, { buckets, count }]) => ({
      n: Number(label),
      requests: count,
      p50: quantile(0.5, buckets),
      p95: quantile(0.95, buckets),
      ...Object.fromEntries(Object.entries(means).map(([name, found]) => [name, meanOf(found.get(label))])),
    }))
    .sort((a, b) => a.n - b.n);
}

function meanOf(histogram) {
  return histogram?.count ? histogram.sum / histogram.count : null;
}
