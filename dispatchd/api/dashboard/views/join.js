// Pairs a user with a worker, and says how another machine joins.

import { copyable, el, field, write } from "../dom.js";
import { qrCode } from "../qr.js";
import * as snippets from "../snippets.js";

const LOCAL = new Set(["localhost", "127.0.0.1", "[::1]"]);

export function joinView({ api }) {
  const install = copyable("once, on the other machine");
  const command = copyable("join");
  const code = el("div", { class: "qr" });
  const user = el("input", { id: "join-user", value: "guest", required: true, maxlength: "256", autocomplete: "off" });
  const make = el("button", { class: "primary" }, "Make a pairing code");
  const made = el("p", { role: "status", id: "join-code" });
  const form = el("form", { class: "form" }, field("User", user, "The worker that claims the code may see this user's PRIVATE jobs."), el("div", { class: "row" }, make), made);
  const local = el("p", { class: "problem", hidden: !LOCAL.has(location.hostname) }, "This page came over ", el("code", {}, location.hostname), ", which other machines cannot reach. Start the node with ", el("code", {}, "--host 0.0.0.0"), " and open the page by this machine's address in the network.");
  const node = el(
    "section",
    {},
    el("h2", {}, "Pair and join"),
    el("p", { class: "lead" }, "Any machine with Python 3.11 can work for this node; it needs no open port."),
    local,
    el("div", { class: "two" }, el("div", {}, install.node, command.node, el("h3", {}, "Trust it with PRIVATE jobs"), form), el("div", {}, el("h3", {}, "The command as a QR code"), code)),
  );
  install.set("python3 -m venv .venv && . .venv/bin/activate && pip install .   # in a clone of the repository");

  function print(pairingCode) {
    const text = snippets.worker(location.origin, pairingCode);
    command.set(text);
    code.replaceChildren(qrCode(text));
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const found = await api.json("/v1/trust/create", { method: "POST", body: { user_id: user.value } });
      made.replaceChildren("Code ", el("code", { class: "strong" }, found.pairing_code), ` works once, until ${new Date(found.expires_at).toLocaleTimeString("en-GB")}. It is in the command now.`);
      print(found.pairing_code);
    } catch (error) {
      write(made, [error.message, error.hint].filter(Boolean).join(". "));
    }
  });
  print("");
  return { node, show() {}, update() {} };
}
