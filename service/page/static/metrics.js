// The text format of Prometheus, read exactly, and the histograms in it.

const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?$/;
const LABEL = /\s*([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"\s*(?:,|$)/y;
const ESCAPED = { "\\\\": "\\", '\\"': '"', "\\n": "\n" };

/**
 * @param {string} text what /metrics answered
 * @returns {Map<string, {labels: Record<string, string>, value: number}[]>} samples by name
 * @throws {SyntaxError} naming the line that is none
 */
export function parseMetrics(text) {
  const samples = new Map();
  text.split("\n").forEach((line, index) => {
    if (line.trim() === "" || line.startsWith("#")) return;
    const match = SAMPLE.exec(line.trim());
    if (!match) throw new SyntaxError(`line ${index + 1} of the metrics is no sample: ${line}`);
    const [, name, labels = "", value] = match;
    if (!samples.has(name)) samples.set(name, []);
    samples.get(name).push({ labels: parseLabels(labels, index), value: number(value) });
  });
  return samples;
}

/**
 * A histogram for each value of the label `by`, of the samples that carry all labels of `where`.
 * @returns {Map<string, {buckets: [number, number][], sum: number, count: number}>} buckets: upper bound and how many
 *   lie at or below it, ascending
 */
export function histograms(samples, name, by, where = {}) {
  const found = new Map();
  const read = (suffix, put) => {
    for (const { labels, value } of samples.get(name + suffix) ?? []) {
      if (Object.entries(where).some(([key, wanted]) => labels[key] !== wanted)) continue;
      if (!found.has(labels[by])) found.set(labels[by], { buckets: [], sum: 0, count: 0 });
      put(found.get(labels[by]), value, labels);
    }
  };
  read("_bucket", (histogram, value, labels) => histogram.buckets.push([number(labels.le), value]));
  read("_sum", (histogram, value) => (histogram.sum = value));
  read("_count", (histogram, value) => (histogram.count = value));
  for (const histogram of found.values()) histogram.buckets.sort(([a], [b]) => a - b);
  return found;
}

function parseLabels(text, index) {
  const labels = {};
  LABEL.lastIndex = 0;
  while (LABEL.lastIndex < text.length) {
    const match = LABEL.exec(text);
    if (!match) throw new SyntaxError(`line ${index + 1} of the metrics has labels that cannot be read: ${text}`);
    labels[match[1]] = match[2].replace(/\\[\\"n]/g, (escaped) => ESCAPED[escaped]);
  }
  return labels;
}

function number(text) {
  if (/^[+-]?inf$/i.test(text)) return text.startsWith("-") ? -Infinity : Infinity;
  return Number(text);
}
