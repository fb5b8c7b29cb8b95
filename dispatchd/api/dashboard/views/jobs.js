// The latest jobs: what is stored, and what has happened since the page was opened.

import { el, keyed, write } from "../dom.js";
import { plural, short, time } from "../format.js";
import { latest } from "../live.js";
import { kindOf, pill, setPill, took } from "../status.js";

const SHOWN = 50;
const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export function jobsView({ api, live, go }) {
  const stored = new Map();
  const list = el("ol", { class: "rows" });
  const empty = el("p", { class: "empty" }, "No job yet. ", el("a", { href: "#try" }, "Try one"), ".");
  const problem = el("p", { class: "problem", role: "status" });
  const input = el("input", { id: "job-id", placeholder: "a job's id", autocomplete: "off", spellcheck: "false" });
  const open = (event) => {
    event.preventDefault();
    const id = input.value.trim();
    write(problem, ID.test(id) ? "" : "That is no job's id; it looks like 6d9b35a5-e0fe-4ad5-80e4-a8d746c18512.");
    if (ID.test(id)) go("job", id.toLowerCase());
  };
  const form = el("form", { class: "row", onsubmit: open }, el("label", { for: "job-id", class: "dim" }, "Open"), input, el("button", {}, "Open"));
  const node = el("section", {}, el("div", { class: "row between" }, el("h2", {}, "Jobs"), form), problem, el("p", { class: "dim" }, "PUBLIC jobs, the newest first. PRIVATE ones are shown to their user, with the API key."), empty, list);
  return {
    node,
    ticks: true,
    async show() {
      try {
        const page = await api.json(`/v1/jobs?limit=${SHOWN}`);
        stored.clear();
        for (const job of page.jobs) stored.set(job.id, fromStore(job));
        write(problem, "");
      } catch (error) {
        write(problem, error.message);
      }
    },
    update(state) {
      const all = new Map(stored);
      for (const job of latest(state, SHOWN)) all.set(job.id, job);
      const shown = [...all.values()].sort((a, b) => (a.created_at < b.created_at ? 1 : -1)).slice(0, SHOWN);
      empty.hidden = shown.length > 0;
      keyed(list, shown, (job) => job.id, jobRow, (row, job) => updateJobRow(row, job, live.now));
    },
  };
}

/** A job of the stored list in the shape of a live one. */
function fromStore(job) {
  const ended = { completed: "completed", failed: "failed" }[job.status];
  return { ...job, steps: ended ? [{ event: ended, at: job.completed_at }] : [] };
}

export function jobRow(job) {
  const parts = { pill: pill(job.status), what: el("span", { class: "dim what" }), took: el("span", { class: "num" }) };
  const link = el("a", { href: `#job/${job.id}`, class: "line" }, parts.pill, el("code", {}, short(job.id)), el("span", { class: "kind" }, kindOf(job)), parts.what, parts.took);
  return Object.assign(el("li", { "data-job": job.id }, link), { parts });
}

export function updateJobRow(row, job, now) {
  setPill(row.parts.pill, job.status);
  const attempts = job.attempts > 1 ? ` · ${plural(job.attempts, "attempt")}` : "";
  const secret = job.privacy_class === "PRIVATE" ? " · PRIVATE" : "";
  write(row.parts.what, `${time(job.created_at)} · ${job.tier} · ${job.user_id}${attempts}${secret}`);
  write(row.parts.took, took(job, now));
}
