// The second view: latency, tokens, dollars and reward against N, from this server's own metrics.

import { byN } from "./by_n.js";
import { ENOUGH_REQUESTS, lineChart, powersOfTwo } from "./chart.js";
import { byId, element, replace } from "./dom.js";
import { count, counted, dollars, plain, reward, seconds } from "./format.js";
import { parseMetrics } from "./metrics.js";
import { showError } from "./problem.js";
import { call } from "./server.js";

const REFRESH_MS = 5000;
const NARROWEST = 280;

const CHARTS = [
  { title: "Latency of a request", lines: { p95: "b", p50: "a" }, format: seconds, fromZero: true },
  { title: "Tokens generated per request", lines: { tokens: "a" }, format: count, fromZero: true },
  { title: "Price of a request", lines: { dollars: "a" }, format: dollars, fromZero: true },
  { title: "Reward", lines: { selected: "a", mean: "b" }, format: plain, fromZero: false },
  { title: "Reward gain: selected minus mean", lines: { gain: "a" }, format: plain, fromZero: true },
];
const COLUMNS = [
  ["N", ({ n }) => String(n)],
  ["Requests", ({ requests }) => count(requests)],
  ["p50", ({ p50 }) => seconds(p50)],
  ["p95", ({ p95 }) => seconds(p95)],
  ["Tokens", ({ tokens }) => count(tokens)],
  ["Price", ({ dollars: price }) => (price === null ? "–" : dollars(price))],
  ["Selected", ({ selected }) => reward(selected)],
  ["Mean", ({ mean }) => reward(mean)],
  ["Gain", ({ gain }) => reward(gain)],
];

export class CostsView {
  /** @param {Promise<{maxBestOf: number}>} catalogue */
  constructor(catalogue) {
    this._catalogue = catalogue;
    this._shown = false;
    this._timer = null;
    this._rows = null;
    this._drawnWidth = 0;
    document.addEventListener("visibilitychange", () => this._refresh());
    new ResizeObserver(() => this._drawnWidth !== byId("charts").clientWidth && this._draw()).observe(byId("charts"));
  }

  show() {
    this._shown = true;
    this._refresh();
  }

  hide() {
    this._shown = false;
    clearTimeout(this._timer);
  }

  async _refresh() {
    clearTimeout(this._timer);
    if (!this._shown || document.hidden) return;
    try {
      this._rows = byN(parseMetrics(await (await call("metrics")).text()));
      this._ns = powersOfTwo(Math.max((await this._catalogue).maxBestOf, ...this._rows.map(({ n }) => n)));
      showError(byId("costs-error"), null);
      this._draw();
    } catch (error) {
      showError(byId("costs-error"), error);
    }
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this._refresh(), REFRESH_MS);
  }

  _draw() {
    if (!this._shown || !this._rows) return;
    const requests = this._rows.reduce((sum, row) => sum + row.requests, 0);
    const said = requests ? soFar(requests, this._rows) : "No requests yet: ask something first.";
    if (byId("costs-status").textContent !== said) byId("costs-status").textContent = said;
    this._drawCharts();
    replace(byId("costs-table"), requests ? table(this._ns, this._rows) : null);
  }

  /** The figures stand first, since a chart is drawn as wide as its figure. */
  _drawCharts() {
    this._drawnWidth = byId("charts").clientWidth;
    const counts = new Map(this._rows.map(({ n, requests }) => [n, requests]));
    const charts = CHARTS.map((chart) => ({ ...chart, series: seriesOf(chart, this._rows), ns: this._ns, counts }));
    const shown = charts.filter(({ series }) => series.length);
    const titles = shown.map(({ title }) => element("figcaption", {}, title));
    replace(byId("charts"), ...titles.map((title) => element("figure", { class: "panel" }, title)));
    const widths = titles.map((title) => Math.max(NARROWEST, title.clientWidth));
    shown.forEach((chart, index) => titles[index].after(lineChart({ ...chart, width: widths[index] })));
  }
}

function soFar(requests, rows) {
  const few = rows.some((row) => row.requests < ENOUGH_REQUESTS);
  const hollow = few ? ` A hollow point stands on fewer than ${ENOUGH_REQUESTS}: more can move it far.` : "";
  return `${counted(requests, "request")} so far.${hollow}`;
}

/** The lines for which there are values, as there are none of dollars on a server that knows no prices. */
function seriesOf({ lines, format }, rows) {
  return Object.entries(lines)
    .map(([name, style]) => ({ name, style, points: points(rows, name, format) }))
    .filter((series) => series.points.length);
}

function points(rows, name, format) {
  return rows
    .filter((row) => row[name] !== null && !Number.isNaN(row[name]))
    .map((row) => {
      const note = `N = ${row.n}: ${format(row[name])}, ${counted(row.requests, "request")}`;
      return { x: row.n, y: row[name], note };
    });
}

function table(ns, rows) {
  const found = new Map(rows.map((row) => [row.n, row]));
  const columns = COLUMNS.filter(([name]) => name !== "Price" || rows.some((row) => row.dollars !== null));
  const head = element("tr", {}, ...columns.map(([name]) => element("th", { scope: "col" }, name)));
  const body = ns.map((n) => (found.has(n) ? filled(found.get(n), columns) : empty(n, columns.length)));
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
}

function filled(row, columns) {
  const [first, ...cells] = columns.map(([, format]) => format(row));
  return element("tr", {}, element("th", { scope: "row" }, first), ...cells.map((cell) => element("td", {}, cell)));
}

function empty(n, columns) {
  const text = `no requests with N = ${n} yet`;
  const name = element("th", { scope: "row" }, String(n));
  return element("tr", { class: "none" }, name, element("td", { colspan: columns - 1 }, text));
}
