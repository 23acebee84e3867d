// The two formulas that the page needs.

/**
 * A quantile of a histogram, by linear interpolation in its bucket, like Prometheus' `histogram_quantile`: the lowest
 * bucket begins at 0 where its bound is positive, and what lies in the last, open bucket counts as its lower bound.
 * @param {number} q from 0 to 1
 * @param {[number, number][]} buckets upper bound and how many lie at or below it, ascending, the last one open
 */
export function quantile(q, buckets) {
  const total = buckets.length ? buckets.at(-1)[1] : 0;
  if (buckets.length < 2 || total === 0) return NaN;
  const rank = q * total;
  const at = buckets.findIndex(([, below]) => below >= rank);
  const [high, upTo] = buckets[at];
  if (at === buckets.length - 1) return buckets.at(-2)[0];
  if (at === 0 && high <= 0) return high;
  const [low, before] = at === 0 ? [0, 0] : buckets[at - 1];
  return upTo === before ? high : low + ((high - low) * (rank - before)) / (upTo - before);
}

/**
 * Wilson's 95 % interval of a share (Wilson 1927).
 * @returns {[number, number]} from 0 to 1
 */
export function wilson(successes, trials) {
  if (trials === 0) return [0, 1];
  const z = 1.959964;
  const share = successes / trials;
  const middle = (share + z ** 2 / (2 * trials)) / (1 + z ** 2 / trials);
  const half = (z / (1 + z ** 2 / trials)) * Math.sqrt((share * (1 - share)) / trials + z ** 2 / (4 * trials ** 2));
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}
