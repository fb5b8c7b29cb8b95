// One job: its life as a timeline, its result as it comes, its receipt, and why it waits.

import { Refused } from "../api.js";
import { el, keyed, write } from "../dom.js";
import { duration, short } from "../format.js";
import { pause } from "../live.js";
import { kindOf, pill, setPill, WORDS } from "../status.js";
import { verdict } from "../verdict.js";

const ENDED = new Set(["completed", "failed"]);
const AGAIN_MILLIS = 1000;
const EXPLAIN_MILLIS = 2000;
const RULES = {
  not_capable: "cannot do this kind of job",
  not_paired: "is not paired with this user",
  key_not_proven: "has not proven its key yet",
  model_not_there: "does not have the model",
  suspended: "is suspended for a time, as it failed or lied too often",
  refused: "has turned it down",
  preparing: "is still preparing",
  busy: "is busy",
};

export function jobView({ api, go }) {
  const title = el("h2", {}, "Job");
  const status = pill("");
  const facts = el("p", { class: "dim" });
  const steps = el("ol", { class: "timeline" });
  const note = el("p", { class: "dim" });
  const waits = el("div", { class: "waits", hidden: true });
  const output = el("pre", { class: "output", tabindex: "0", "aria-label": "Result" });
  const receipt = el("div");
  const payment = el("p", { class: "dim" });
  const problem = el("p", { class: "problem", role: "status" });
  const cancel = el("button", { type: "button", class: "small" }, "Cancel the job");
  const body = el("div", {}, facts, el("div", { class: "two" }, el("div", {}, el("h3", {}, "Life"), steps, note, waits), el("div", {}, el("h3", {}, "Result"), output, payment, receipt)));
  const node = el("section", {}, el("p", {}, el("a", { href: "#jobs" }, "← Jobs")), el("div", { class: "row between" }, el("span", { class: "row" }, title, status), cancel), problem, body);
  let watching = new AbortController();
  let id = "";
  let explained = 0;

  cancel.addEventListener("click", async () => {
    try {
      await api.json(`/v1/jobs/${id}`, { method: "DELETE" });
      write(problem, "");
    } catch (error) {
      write(problem, error.message);
    }
  });

  async function timeline() {
    const life = await api.json(`/v1/jobs/${id}/timeline`);
    setPill(status, life.status);
    write(facts, `${kindOf(life)} · ${life.tier} · user ${life.user_id} · ${life.attempts} attempt${life.attempts === 1 ? "" : "s"}${life.failed_attempts ? `, ${life.failed_attempts} failed` : ""}`);
    const start = Date.parse(life.steps[0].at);
    keyed(steps, life.steps, (_step) => life.steps.indexOf(_step), step, (row, each) => updateStep(row, each, start));
    write(note, life.whole ? "" : "Nobody who runs now has seen all of this job's life; some steps or times may be missing.");
    cancel.hidden = ENDED.has(life.status);
    await explain(life.status);
  }

  async function explain(current) {
    waits.hidden = current !== "pending";
    if (waits.hidden) return;
    explained = performance.now();
    const { verdict: said, workers } = await api.json(`/v1/jobs/${id}/explain`);
    const rows = workers.map((each) => el("li", {}, el("code", {}, short(each.provider_pubkey)), ` ${each.excluded_by ? RULES[each.excluded_by] || each.excluded_by : "may take it"}`));
    const nobody = el("p", {}, "No worker is connected. ", el("a", { href: "#join" }, "Join with a machine"), ".");
    waits.replaceChildren(el("h3", {}, `Why it waits: ${said || current}`), rows.length ? el("ul", {}, rows) : nobody);
  }

  /** Workers come, go and get busy while a job waits, of which its own events say nothing. */
  async function explainAgain() {
    const { signal } = watching;
    try {
      await explain("pending");
    } catch (error) {
      if (!signal.aborted) write(problem, error.message);
    }
  }

  async function end(text) {
    const job = JSON.parse(text);
    const said = job.result?.text;
    write(output, typeof said === "string" ? said : JSON.stringify(job.result, null, 2));
    write(payment, job.payment ? `Payment: ${job.payment.state}${job.payment.transaction ? `, transaction ${job.payment.transaction}` : ""}` : "");
    if (!job.receipt) {
      receipt.replaceChildren();
      return;
    }
    const bundle = await api.text(`/v1/receipts/${id}`);
    const open = el("button", { type: "button", class: "small", onclick: () => go("verify", id) }, "Open in Verify");
    receipt.replaceChildren(el("div", { class: "row between" }, el("h3", {}, "Receipt"), open), await verdict(bundle), el("details", {}, el("summary", {}, "The bundle"), el("pre", {}, JSON.stringify(JSON.parse(bundle), null, 2))));
  }

  /** Until the job has ended, or will never be shown; a connection that breaks is made again. */
  async function follow(signal) {
    await timeline();
    for (;;) {
      try {
        if (await heardAll(signal)) return;
      } catch (error) {
        if (signal.aborted || error instanceof Refused) throw error;
      }
      await pause(AGAIN_MILLIS);
      if (signal.aborted) return;
    }
  }

  /** Whether the events came to the job's end; the first one has all the text so far. */
  async function heardAll(signal) {
    write(output, "");
    let whole = false;
    for await (const event of api.events(`/v1/jobs/${id}/events`, signal)) {
      if (event.kind === "delta") output.append(JSON.parse(event.text).delta);
      else if (event.kind === "status" && JSON.parse(event.text).status === "pending") write(output, "");
      else if (event.kind === "done") await end(event.text);
      if (event.kind !== "delta") await timeline();
      whole ||= event.kind === "done";
    }
    return whole;
  }

  return {
    node,
    async show(wanted) {
      watching.abort();
      watching = new AbortController();
      const { signal } = watching;
      id = wanted;
      write(title, `Job ${short(id)}`);
      title.title = id;
      for (const part of [output, problem, payment, facts, note]) write(part, "");
      setPill(status, "");
      steps.rows = new Map();
      steps.replaceChildren();
      body.hidden = false;
      waits.hidden = true;
      receipt.replaceChildren();
      try {
        await follow(signal);
      } catch (error) {
        if (!signal.aborted) write(problem, [error.message, error.hint].filter(Boolean).join(". "));
      }
      body.hidden = problem.textContent !== "" && steps.childElementCount === 0;
    },
    hide() {
      watching.abort();
    },
    ticks: true,
    update() {
      const old = performance.now() - explained > EXPLAIN_MILLIS;
      if (!waits.hidden && !watching.signal.aborted && old) explainAgain();
    },
  };
}

function step() {
  const parts = { what: el("b"), when: el("span", { class: "num dim" }), more: el("span", { class: "dim" }) };
  return Object.assign(el("li", {}, parts.what, parts.when, parts.more), { parts });
}

function updateStep(row, each, start) {
  row.dataset.event = each.event;
  write(row.parts.what, WORDS[each.event] || each.event);
  const at = each.at ? Date.parse(each.at) : null;
  write(row.parts.when, at === null ? "time not known" : at === start && each.event === "committed" ? new Date(at).toLocaleTimeString("en-GB") : `+${duration(at - start)}`);
  const who = each.provider_pubkey ? ` worker ${short(each.provider_pubkey)}` : "";
  const attempt = each.attempt && each.event === "assigned" ? ` attempt ${each.attempt}` : "";
  write(row.parts.more, [attempt, who, each.reason ? ` ${each.reason}` : ""].join(""));
}
