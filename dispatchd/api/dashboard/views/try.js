// Quotes and submits a job, and shows its text as it comes.

import { choice, copyable, el, field, write } from "../dom.js";
import { duration } from "../format.js";
import * as snippets from "../snippets.js";
import { pill, setPill } from "../status.js";
import { verdict } from "../verdict.js";

const KINDS = [
  ["llm", "LLM: generate text"],
  ["classify", "TASK: classify sentiment"],
  ["summarize", "TASK: summarize"],
  ["extract_json", "TASK: extract JSON"],
];
const EXAMPLES = {
  llm: "What is a blockchain?",
  classify: "This product is amazing and works perfectly.",
  summarize: "The node keeps every accepted job on disk before it answers. A worker takes the job, runs it and signs the result. The coordinator checks the signature, and only then is the job complete. If a worker is lost, another one tries again.",
  extract_json: "Order: {'item': 'cable', 'count': 3, 'express': True,} as agreed.",
};

export function tryView({ api, live, go }) {
  const kind = choice({ id: "try-kind" }, KINDS);
  const text = el("textarea", { id: "try-text", rows: "5", required: true });
  const tokens = el("input", { id: "try-tokens", type: "number", min: "1", max: "4096", value: "64" });
  const policy = choice({}, [["AUTO", "AUTO"], ["FAST", "FAST"], ["CHEAP", "CHEAP"]]);
  const privacy = choice({}, [["PUBLIC", "PUBLIC"], ["PRIVATE", "PRIVATE"]]);
  const user = el("input", { value: "guest", required: true, maxlength: "256", autocomplete: "off" });
  const quote = el("output", { class: "quote" }, "…");
  const submit = el("button", { class: "primary", id: "try-submit" }, "Submit");
  const tokensField = field("Max tokens", tokens);
  const form = el(
    "form",
    { class: "form" },
    field("Job", kind),
    field("Text", text),
    el("div", { class: "row wrap" }, tokensField, field("Policy", policy), field("Privacy", privacy), field("User", user)),
    el("div", { class: "row" }, submit, quote),
  );
  const status = pill("");
  const progress = el("span", { class: "dim", role: "status", id: "try-status" });
  const output = el("pre", { class: "output", id: "try-output", tabindex: "0", "aria-label": "Result" });
  const receipt = el("div", { id: "try-receipt", "aria-live": "polite" });
  const problem = el("div", { class: "problem", role: "alert" });
  const reply = el("div", { hidden: true }, el("div", { class: "row" }, status, progress), output, receipt);
  const curl = copyable("curl");
  const python = copyable("Python");
  const node = el("section", {}, el("h2", {}, "Try it"), el("div", { class: "two" }, el("div", {}, form, problem, reply), el("div", {}, el("h3", {}, "The same from elsewhere"), curl.node, python.node)));
  let quoted = { endpoint: "/v1/jobs/commit/fast" };
  let watching = new AbortController();

  const order = () => {
    const llm = kind.value === "llm";
    const payload = llm
      ? { job_type: "LLM_INFER", prompt: text.value, max_tokens: Number(tokens.value) || 64 }
      : { job_type: "TASK", task_type: kind.value, input: text.value };
    const whole = { job_type: payload.job_type, user_id: user.value, payload };
    return privacy.value === "PRIVATE" ? { ...whole, privacy_class: "PRIVATE" } : whole;
  };

  function print() {
    const { origin } = location;
    curl.set(snippets.curl(origin, quoted.endpoint, order(), api.key));
    python.set(snippets.python(origin, live.state.about?.network || "", policy.value, order(), api.key));
  }

  async function ask() {
    tokensField.hidden = kind.value !== "llm";
    try {
      quoted = await api.json(`/v1/quote?job_type=${order().job_type}&policy=${policy.value}`);
      const free = live.state.about?.payments === "off" ? " (free on this node)" : "";
      write(quote, `${quoted.price} · ${quoted.policy_resolved}${free}`);
    } catch (error) {
      write(quote, error.message);
    }
    print();
  }

  function refuse(error) {
    problem.replaceChildren(el("p", {}, [error.message, error.hint].filter(Boolean).join(". ")));
    if (error.status === 402) {
      const offer = error.body.accepts?.[0];
      const pay = copyable("terminal");
      const wallet = live.state.about?.payments === "simulated" ? "1" : "wallet.key";
      pay.set(snippets.terminal(location.origin, policy.value, order(), wallet));
      problem.append(el("p", {}, offer ? `This node sells its jobs: ${offer.price} to ${offer.payTo}. A wallet signs that, not this page:` : "A wallet must pay for it:"), pay.node);
    }
    if (error.body?.code === "no_trusted_worker") problem.append(el("a", { href: "#join" }, "Pair a worker"));
  }

  async function run(signal) {
    const started = performance.now();
    const { job_id: id } = await api.json(quoted.endpoint, { method: "POST", body: order() });
    reply.hidden = false;
    write(output, "");
    receipt.replaceChildren();
    setPill(status, "committed");
    progress.replaceChildren(el("a", { href: `#job/${id}` }, id));
    let whole = false;
    for await (const event of api.events(`/v1/jobs/${id}/events`, signal)) {
      if (event.kind === "delta") output.append(JSON.parse(event.text).delta);
      if (event.kind === "status") {
        setPill(status, JSON.parse(event.text).status);
        if (status.dataset.status === "pending") write(output, "");
      }
      if (event.kind === "done") await end(id, JSON.parse(event.text), performance.now() - started);
      whole ||= event.kind === "done";
    }
    if (!whole) throw new Error("The connection was lost. The job goes on: open it by its id");
  }

  async function end(id, job, millis) {
    setPill(status, job.status);
    const said = job.result?.text;
    write(output, typeof said === "string" ? said : JSON.stringify(job.result, null, 2));
    progress.append(` · ${duration(millis)}`);
    if (!job.receipt) return;
    const bundle = await api.text(`/v1/receipts/${id}`);
    const open = el("button", { type: "button", class: "small", onclick: () => go("verify", id) }, "Open in Verify");
    receipt.replaceChildren(await verdict(bundle), open);
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    watching.abort();
    watching = new AbortController();
    const { signal } = watching;
    problem.replaceChildren();
    submit.disabled = true;
    try {
      await run(signal);
    } catch (error) {
      if (!signal.aborted) refuse(error);
    }
    submit.disabled = false;
  });
  kind.addEventListener("change", () => {
    text.value = EXAMPLES[kind.value];
    ask();
  });
  policy.addEventListener("change", ask);
  form.addEventListener("input", print);
  text.value = EXAMPLES.llm;
  let known = false;
  return {
    node,
    show: ask,
    update() {
      if (!known) ask(); // whether jobs are free is known now
      known = true;
    },
  };
}
