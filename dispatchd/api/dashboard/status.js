// What a job's status and steps are called, and how they look.

import { el, write } from "./dom.js";
import { duration } from "./format.js";

export const WORDS = {
  committed: "committed",
  assigned: "assigned",
  first_text: "first text",
  returned: "attempt failed",
  completed: "completed",
  failed: "failed",
};

export function pill(status) {
  const node = el("span", { class: "pill" });
  setPill(node, status);
  return node;
}

export function setPill(node, status) {
  write(node, status);
  node.dataset.status = status;
}

/** How long a job took or has taken, as far as its steps say. */
export function took(job, now) {
  const end = (job.steps || []).findLast((step) => step.event === "completed" || step.event === "failed");
  if (end && !end.at) return "";
  const until = end ? Date.parse(end.at) : now;
  return duration(until - Date.parse(job.created_at));
}

/** The model or the kind of a job in a word. */
export const kindOf = (job) => (job.job_type === "LLM_INFER" ? "LLM" : "TASK");
