// What jobs cost here, what was paid, and simulated balances with their faucet.

import { el, field, keyed, write } from "../dom.js";
import { dollars, plural, short } from "../format.js";
import { pill, setPill } from "../status.js";

const PAID_SHOWN = 30;
const AGAIN_MILLIS = 2000;
const OFFERS = [["LLM_INFER", "FAST"], ["LLM_INFER", "CHEAP"], ["TASK", "FAST"], ["TASK", "CHEAP"]];
const RESERVED = new Set(["verifying", "authorized", "capturing"]);

export function moneyView({ api, live }) {
  const prices = el("dl", { class: "facts" });
  const sums = el("dl", { class: "figures few" });
  const jobs = el("ol", { class: "rows" });
  const noJobs = el("p", { class: "empty" }, "No paid job yet. From a terminal: ", el("code", {}, "dispatchd submit task classify \"Good.\" --pay 1"));
  const balances = el("ul", { class: "rows" });
  const address = el("input", { class: "mono", required: true, pattern: "0x[0-9a-fA-F]{40}", placeholder: "0x…", id: "faucet-address" });
  const amount = el("input", { type: "number", min: "0.01", max: "1000", step: "0.01", value: "5.00" });
  const said = el("p", { role: "status" });
  const form = el("form", { class: "form" }, field("Address", address), field("Dollars", amount), el("div", { class: "row" }, el("button", { class: "primary" }, "Give play money")), said);
  const simulated = el("div", {}, el("h3", {}, "Balances (simulated money)"), balances, el("h3", {}, "Faucet"), form);
  const node = el("section", {}, el("h2", {}, "Money"), el("p", { class: "lead" }, "A payment is authorised at commit and captured when the job has completed, so that a job that fails costs nothing. On Solana money moves at commit; what a failed job has cost is then due back."), el("p", { class: "dim" }, `Of the latest paid jobs, ${PAID_SHOWN} at most:`), sums, el("div", { class: "two" }, el("div", {}, el("h3", {}, "Latest paid jobs"), noJobs, jobs, el("h3", {}, "Prices"), prices), simulated));
  const payments = new Map();
  let asked = null;
  let lookedAt = 0;

  async function lookAtBalances() {
    if (simulated.hidden) return;
    const { accounts } = await api.json("/facilitator/balances");
    keyed(balances, accounts, (each) => each.address, account, (row, each) => write(row.lastChild, dollars(each.balance)));
  }

  function account({ address: holder }) {
    const choose = () => {
      address.value = holder;
    };
    return el("li", { class: "line" }, el("button", { type: "button", class: "bare mono", onclick: choose, title: "Use in the faucet" }, short(holder)), el("span", { class: "num" }));
  }

  async function lookAtPrices() {
    const quotes = await Promise.all(OFFERS.map(([type, tier]) => api.json(`/v1/quote?job_type=${type}&policy=${tier}`)));
    prices.replaceChildren(...quotes.map((quote, i) => el("div", {}, el("dt", {}, OFFERS[i].join(" ")), el("dd", {}, quote.price))));
  }

  /** Asks for what pays for the jobs that have changed since they were last asked for. */
  async function lookAtJobs(paid) {
    for (const job of paid) {
      if (payments.get(job.id)?.steps === job.steps.length) continue;
      const { payment } = await api.json(`/v1/jobs/${job.id}`);
      if (payment) payments.set(job.id, { ...payment, id: job.id, steps: settled(payment) ? job.steps.length : -1 });
    }
    for (const id of payments.keys()) if (!paid.some((job) => job.id === id)) payments.delete(id);
    const shown = paid.flatMap((job) => payments.get(job.id) ?? []);
    noJobs.hidden = shown.length > 0;
    keyed(jobs, shown, (each) => each.id, paidRow, updatePaidRow);
    keyed(sums, totals(shown), ([name]) => name, () => el("div", { class: "figure" }, el("dt"), el("dd")), (row, [name, count, text]) => {
      write(row.firstChild, `${name} · ${plural(count, "job")}`);
      write(row.lastChild, text);
    });
    await lookAtBalances();
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const body = { address: address.value, amount: String(Math.round(Number(amount.value) * 1e6)) };
      const found = await api.json("/facilitator/faucet", { method: "POST", body });
      write(said, `${short(found.address)} has ${dollars(found.balance)} now.`);
      await lookAtBalances();
    } catch (error) {
      write(said, error.message);
    }
  });
  const attempt = async (work) => {
    try {
      await work();
    } catch (error) {
      write(said, error.message);
    }
  };
  return {
    node,
    ticks: true,
    async show() {
      asked = null;
      await attempt(lookAtPrices);
    },
    update(state) {
      simulated.hidden = state.about.payments !== "simulated";
      const paid = [...state.jobs.values()].filter((job) => job.paid).slice(-PAID_SHOWN).reverse();
      const wanted = paid.map((job) => `${job.id}${job.steps.length}`).join();
      // How a payment ends is no step of its job.
      const open = [...payments.values()].some((payment) => !settled(payment));
      if (wanted === asked && !(open && performance.now() - lookedAt > AGAIN_MILLIS)) return;
      asked = wanted;
      lookedAt = performance.now();
      attempt(() => lookAtJobs(paid));
    },
  };
}

const settled = (payment) => !RESERVED.has(payment.state);

/** Name, number of jobs and sum of what was reserved, captured and released, of the payments that are shown. */
function totals(shown) {
  const sum = (of) => {
    const found = shown.filter((payment) => of(payment.state));
    const atomic = found.reduce((total, payment) => total + BigInt(payment.amount || 0), 0n);
    return [found.length, dollars(atomic)];
  };
  const rest = (state) => state !== "captured" && state !== "released" && !RESERVED.has(state);
  return [
    ["authorised, open", ...sum((state) => RESERVED.has(state))],
    ["captured", ...sum((state) => state === "captured")],
    ["released, not charged", ...sum((state) => state === "released")],
    ["refused or refund due", ...sum(rest)],
  ];
}

function paidRow(payment) {
  const parts = { pill: pill(payment.state), amount: el("span", { class: "num" }), transaction: el("span", { class: "dim what mono" }) };
  const link = el("a", { href: `#job/${payment.id}`, class: "line" }, parts.pill, el("code", {}, short(payment.id)), parts.transaction, parts.amount);
  return Object.assign(el("li", {}, link), { parts });
}

function updatePaidRow(row, payment) {
  setPill(row.parts.pill, payment.state);
  write(row.parts.amount, payment.amount ? dollars(payment.amount) : "");
  write(row.parts.transaction, payment.transaction ? short(payment.transaction) : "");
}
