// Two small charts over the last fifteen minutes, drawn by uPlot (vendor/).

import { el } from "./dom.js";
import { seconds } from "./format.js";

const STEP = 5;
const WINDOW = 900;
const HEIGHT = 140;
const PER_MINUTE = 12;
const TYPES = ["LLM_INFER", "TASK"];

/** A chart with a heading; `columns` makes its series out of the buckets. */
class Chart {
  constructor(title, unit, labels, columns, format) {
    this.title = title;
    this.labels = labels;
    this.columns = columns;
    this.format = format;
    this.box = el("div", { class: "plot", role: "img" });
    const legend = labels.map(([name, colour]) => el("span", { class: `key-${colour}` }, name));
    this.node = el("figure", {}, el("figcaption", {}, el("b", {}, title), el("span", { class: "dim" }, unit), el("span", { class: "legend" }, legend)), this.box);
    new ResizeObserver(() => this.#fit()).observe(this.box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#drop());
  }

  draw(series, now) {
    const data = this.columns(grid(series, now));
    this.box.setAttribute("aria-label", this.#summary(data));
    if (this.plot) this.plot.setData(data);
    else this.#make(data);
  }

  #summary(data) {
    const said = this.labels.map(([name], i) => {
      const values = data[i + 1].filter((value) => value !== null);
      return `${name} ${values.length ? this.format(values.at(-1)) : "none"}`;
    });
    return `${this.title}, lately: ${said.join(", ")}`;
  }

  #make(data) {
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--dim").trim();
    const line = style.getPropertyValue("--line").trim();
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    const lines = this.labels.map(([label, colour]) => {
      const stroke = style.getPropertyValue(`--${colour}`).trim();
      return { label, stroke, width: 1.5, points: { show: false }, spanGaps: colour !== "fail" };
    });
    this.plot = new uPlot(
      {
        width: this.box.clientWidth || 320,
        height: HEIGHT,
        legend: { show: false },
        cursor: { show: false },
        scales: { y: { range: (_, low, high) => [0, Math.max(high || 0, 0.001) * 1.1] } },
        axes: [
          { ...axis, space: 70, size: 24, values: (_, ticks) => ticks.map(clock) },
          { ...axis, size: 52, values: (_, ticks) => ticks.map(this.format) },
        ],
        series: [{}, ...lines],
      },
      data,
      this.box,
    );
  }

  #fit() {
    const width = this.box.clientWidth;
    if (this.plot && width && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
  }

  #drop() {
    this.plot?.destroy();
    this.plot = null;
  }
}

const clock = (at) => new Date(at * 1000).toTimeString().slice(0, 5);

/** One bucket for each step of the window, empty where nothing happened. */
function grid(series, now) {
  const last = Math.floor(now / 1000 / STEP) * STEP;
  const buckets = [];
  for (let at = last - WINDOW; at <= last; at += STEP) {
    buckets.push(series.get(at) || { at, committed: 0, failed: 0, completed: {} });
  }
  return buckets;
}

/** Jobs a minute: of the minute that ends with each bucket. */
function rates(buckets) {
  const count = (of) => {
    let sum = 0;
    return buckets.map((bucket, i) => {
      sum += of(bucket);
      if (i >= PER_MINUTE) sum -= of(buckets[i - PER_MINUTE]);
      return sum;
    });
  };
  const done = TYPES.map((type) => count((bucket) => bucket.completed[type]?.completed || 0));
  return [buckets.map((bucket) => bucket.at), ...done, count((bucket) => bucket.failed)];
}

function latencies(buckets) {
  const medians = TYPES.map((type) => buckets.map((bucket) => bucket.completed[type]?.p50 ?? null));
  return [buckets.map((bucket) => bucket.at), ...medians];
}

export const jobsChart = () =>
  new Chart("Completed", "jobs a minute", [["LLM", "llm"], ["TASK", "task"], ["failed", "fail"]], rates, (value) => String(Math.round(value * 10) / 10));

export const latencyChart = () =>
  new Chart("Time to result", "median, from commit", [["LLM", "llm"], ["TASK", "task"]], latencies, seconds);
