// A line chart over N, drawn as SVG: axes with units, and the lines' names at their ends. A line breaks off at an N
// without requests; a point with few requests is hollow, and the line pale on its way there.

import { svg } from "./dom.js";

const HEIGHT = 230;
const MARGIN = { top: 14, right: 8, bottom: 46, left: 58 };
const NAME_WIDTH = 66; // of a line's name, beside its last point
const LABEL_GAP = 15;
export const ENOUGH_REQUESTS = 30; // below it a p95 is little more than the slowest request

/**
 * @typedef {{x: number, y: number, note: string}} Point
 * @typedef {{name: string, style: string, points: Point[]}} Series style: a class, "a" or "b"
 */

/**
 * @param {{title: string, ns: number[], counts: Map<number, number>, series: Series[], format: (y: number) => string,
 *   fromZero: boolean, width: number}} chart counts: requests by N
 * @returns {SVGElement}
 */
export function lineChart({ title, ns, counts, series, format, fromZero, width }) {
  const values = series.flatMap(({ points }) => points.map(({ y }) => y));
  const ticks = niceTicks(fromZero ? [0, ...values] : values);
  const isNearEnd = series.some(({ points }) => ns.indexOf(points.at(-1).x) > ns.length - 3);
  const right = width - (isNearEnd ? NAME_WIDTH : MARGIN.right);
  const bottom = HEIGHT - MARGIN.bottom;
  const x = (n) => MARGIN.left + ((right - MARGIN.left) * (ns.indexOf(n) + 0.5)) / ns.length;
  const y = (value) => bottom - ((bottom - MARGIN.top) * (value - ticks[0])) / (ticks.at(-1) - ticks[0]);
  const spoken = `${title}; the values are in the table below`;
  const middle = (MARGIN.left + right) / 2;
  const isFew = (n) => (counts.get(n) ?? 0) < ENOUGH_REQUESTS;
  return svg(
    "svg",
    { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": spoken },
    ...ticks.map((tick) => horizontal(tick, y(tick), right, format)),
    ...ns.map((n) => nTick(n, counts.get(n) ?? 0, x(n), bottom)),
    svg("text", { class: "axis", x: middle, y: HEIGHT - 2, "text-anchor": "middle" }, "N, with the requests below it"),
    ...series.map((one) => line(one, neighbours(one.points, ns), isFew, x, y)),
    ...endLabels(series, x, y),
  );
}

/** The ticks of N: 1, 2, 4, ... up to `most`. */
export function powersOfTwo(most) {
  return Array.from({ length: Math.floor(Math.log2(most)) + 1 }, (_, power) => 2 ** power);
}

/** 3 to 6 round numbers that reach from below the lowest to above the highest value. */
export function niceTicks(values) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const span = high - low || Math.abs(high) || 1;
  const rough = span / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(Math.ceil(high / step - 1e-9), first + 1);
  return Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}

function horizontal(tick, y, right, format) {
  const rule = svg("line", { class: tick === 0 ? "rule zero" : "rule", x1: MARGIN.left, x2: right, y1: y, y2: y });
  return svg("g", {}, rule, svg("text", { x: MARGIN.left - 8, y: y + 4, "text-anchor": "end" }, format(tick)));
}

function nTick(n, requests, x, bottom) {
  const attributes = { x, "text-anchor": "middle" };
  const number = svg("text", { ...attributes, y: bottom + 16, class: requests ? "n" : "n none" }, String(n));
  const below = svg("text", { ...attributes, y: bottom + 30, class: "count" }, requests ? String(requests) : "–");
  return svg("g", {}, number, below);
}

/** The points that lie side by side, in pairs: no line leads over an N of which nothing is known. */
export function neighbours(points, ns) {
  const pairs = points.slice(1).map((point, index) => [points[index], point]);
  return pairs.filter(([from, to]) => ns.indexOf(to.x) === ns.indexOf(from.x) + 1);
}

function line({ name, style, points }, pairs, isFew, x, y) {
  const ways = pairs.map(([from, to]) => {
    const ends = { x1: x(from.x), y1: y(from.y), x2: x(to.x), y2: y(to.y) };
    return svg("line", { class: isFew(from.x) || isFew(to.x) ? "way few" : "way", ...ends });
  });
  const marks = points.map((point) => {
    const title = svg("title", {}, `${name}, ${point.note}`);
    return svg("g", { class: isFew(point.x) ? "few" : null }, marker(style, x(point.x), y(point.y)), title);
  });
  return svg("g", { class: `line ${style}` }, ...ways, ...marks);
}

function marker(style, x, y) {
  if (style === "a") return svg("circle", { cx: x, cy: y, r: 4 });
  return svg("rect", { x: x - 4, y: y - 4, width: 8, height: 8 });
}

/** Names at the last points, pushed apart where they would overlap. */
function endLabels(series, x, y) {
  const labels = series
    .map(({ name, style, points }) => ({ name, style, x: x(points.at(-1).x) + 10, y: y(points.at(-1).y) + 4 }))
    .sort((a, b) => a.y - b.y);
  labels.forEach((label, index) => {
    if (index > 0) label.y = Math.max(label.y, labels[index - 1].y + LABEL_GAP);
  });
  return labels.map((label) => svg("text", { class: `name ${label.style}`, x: label.x, y: label.y }, label.name));
}
