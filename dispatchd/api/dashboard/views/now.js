// The network in ten seconds: its numbers, the last fifteen minutes, the latest jobs, who works.

import { jobsChart, latencyChart } from "../charts.js";
import { el, keyed, write } from "../dom.js";
import { number, plural, short } from "../format.js";
import { completedLately, latest } from "../live.js";
import { jobRow, updateJobRow } from "./jobs.js";

const JOBS_SHOWN = 8;
const WORKERS_SHOWN = 8;

const FIGURES = [
  ["waiting", "waiting", (now) => number(now.waiting)],
  ["running", "running", (now) => number(now.running)],
  ["workers", "workers online", (now) => number(now.workers_online)],
  ["completed", "completed", (now) => number(now.completed)],
  ["failed", "failed", (now) => number(now.failed)],
  ["rate", "completed last minute", (_now, lately) => number(lately)],
];

export function nowView({ live }) {
  const values = {};
  const figures = FIGURES.map(([id, label]) => {
    values[id] = el("dd", { id: `figure-${id}` }, "–");
    return el("div", { class: `figure ${id}` }, el("dt", {}, label), values[id]);
  });
  const charts = [jobsChart(), latencyChart()];
  const jobs = el("ol", { class: "rows" });
  const noJobs = el("p", { class: "empty" }, "No job yet. ", el("a", { href: "#try" }, "Try one"), ".");
  const workers = el("ul", { class: "rows" });
  const noWorkers = el("p", { class: "empty" }, "Nobody works here yet. ", el("a", { href: "#join" }, "Join with a machine"), ".");
  const since = el("p", { class: "dim" });
  const node = el(
    "section",
    { "aria-labelledby": "now-title" },
    el("h2", { id: "now-title" }, "Now"),
    el("p", { class: "lead" }, "Jobs come in over HTTP, wait in a durable queue, run on a worker, and come back with a receipt that its worker has signed. ", el("a", { href: "#verify" }, "Check one"), "."),
    el("dl", { class: "figures" }, figures),
    since,
    el("div", { class: "two" }, charts.map((chart) => chart.node)),
    el(
      "div",
      { class: "two" },
      el("div", {}, el("h3", {}, "Latest jobs"), noJobs, jobs, el("p", {}, el("a", { href: "#jobs" }, "All jobs"))),
      el("div", {}, el("h3", {}, "Workers"), noWorkers, workers, el("p", {}, el("a", { href: "#workers" }, "All workers"))),
    ),
  );
  return {
    node,
    ticks: true,
    update(state) {
      const lately = completedLately(state, live.now);
      for (const [id, , text] of FIGURES) write(values[id], text(state.now, lately));
      write(since, `Completed and failed count since ${new Date(state.about.started_at).toLocaleString("en-GB")}, when this node started.`);
      for (const chart of charts) chart.draw(state.series, live.now);
      const shown = latest(state, JOBS_SHOWN);
      noJobs.hidden = shown.length > 0;
      keyed(jobs, shown, (job) => job.id, jobRow, (row, job) => updateJobRow(row, job, live.now));
      const present = [...state.workers.values()].slice(0, WORKERS_SHOWN);
      noWorkers.hidden = present.length > 0;
      keyed(workers, present, (worker) => worker.provider_pubkey, workerLine, updateWorkerLine);
    },
  };
}

function workerLine() {
  const parts = { key: el("code"), what: el("span", { class: "dim" }), load: el("span", { class: "num" }) };
  const row = el("li", { class: "line" }, parts.key, parts.what, parts.load);
  return Object.assign(row, { parts });
}

function updateWorkerLine(row, worker) {
  write(row.parts.key, short(worker.provider_pubkey));
  write(row.parts.what, [worker.provider_type, ...worker.models.slice(0, 1)].join(" · "));
  write(row.parts.load, `${worker.active_jobs}/${plural(worker.max_concurrent_jobs, "place")}`);
}
