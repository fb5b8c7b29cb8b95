// Checks a pasted or opened receipt, bundle or chain in the browser.

import { el, field, write } from "../dom.js";
import { verdict } from "../verdict.js";

const BYTES_MAX = 32 * 1024 * 1024;

export function verifyView({ api }) {
  const text = el("textarea", { id: "verify-text", rows: "12", spellcheck: "false", class: "mono", placeholder: "A bundle (dispatchd receipt export JOB_ID, or GET /v1/receipts/JOB_ID), a whole chain (--all), or a job as the poll shows it" });
  const key = el("input", { id: "verify-key", class: "mono", spellcheck: "false", autocomplete: "off", placeholder: "64 hex digits" });
  const file = el("input", { type: "file", accept: ".json,.jsonl,application/json" });
  const said = el("p", { class: "dim", role: "status" });
  const result = el("div", { id: "verify-result", "aria-live": "polite" });
  const check = el("button", { class: "primary", id: "verify-check" }, "Check");
  const tamper = el("button", { type: "button", id: "verify-tamper" }, "Change one letter of the output");
  const mine = el("button", { type: "button", class: "small" }, "Use what this node says is its key");
  const form = el("form", { class: "form" }, field("Receipt, bundle or chain", text), field("or a file", file), field("The coordinator's key, from its operator (optional)", key), el("div", { class: "row wrap" }, check, tamper, mine));
  const node = el("section", {}, el("h2", {}, "Verify"), el("p", { class: "lead" }, "Hashes and signatures are checked here, in this browser; nothing is sent anywhere. A receipt proves which worker's key said this text for which job, not that the text is true."), el("div", { class: "two" }, form, el("div", {}, said, result)));

  async function run() {
    write(said, "");
    result.replaceChildren(text.value.trim() ? await verdict(text.value, key.value.trim()) : el("p", { class: "empty" }, "Paste a receipt first, or open a completed job and choose “Open in Verify”."));
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  file.addEventListener("change", async () => {
    const [chosen] = file.files;
    if (!chosen) return;
    if (chosen.size > BYTES_MAX) {
      write(said, "The file is longer than 32 MiB; use dispatchd receipt verify.");
      return;
    }
    text.value = await chosen.text();
    run();
  });
  tamper.addEventListener("click", () => {
    text.value = tampered(text.value);
    run();
  });
  mine.addEventListener("click", async () => {
    try {
      key.value = (await api.json("/v1/receipts/root")).coordinator_key;
      write(said, "A node's own word: compare it with what its operator says.");
    } catch (error) {
      write(said, error.message);
    }
  });
  return {
    node,
    async show(id) {
      if (!id) return;
      try {
        text.value = JSON.stringify(JSON.parse(await api.text(`/v1/receipts/${id}`)), null, 2);
        await run();
      } catch (error) {
        write(said, error.message);
      }
    },
    update() {},
  };
}

/** The text with another letter or digit in its output; as it was where there is none. */
function tampered(text) {
  try {
    const value = JSON.parse(text);
    const name = typeof value.output === "string" ? "output" : "result";
    const output = name === "output" ? value.output : JSON.stringify(value.result);
    const at = output.search(/[a-z0-9](?=[^:]*$)/i);
    const changed = output.slice(0, at) + (output[at] === "x" ? "y" : "x") + output.slice(at + 1);
    value[name] = name === "output" ? changed : JSON.parse(changed);
    return JSON.stringify(value, null, 2);
  } catch {
    return text;
  }
}
