// Shows what checking a receipt in this browser has found.

import { checker } from "./crypto.js";
import { el } from "./dom.js";
import { verify } from "./verify.js";

/** The verdict on a pasted text, as an element. */
export async function verdict(text, knownKey = "") {
  const { kind, checks, holds } = await verify(text, knownKey);
  const wrong = checks.find((check) => !check.holds);
  const title = holds ? `Verified in this browser: this ${kind} holds` : `It does not hold: ${wrong.field}: ${wrong.says}`;
  const rows = checks.map((check) => el("li", { "data-holds": String(check.holds) }, el("b", {}, check.field), ` ${check.says}`));
  return el("div", { class: "verdict", "data-holds": String(holds) }, el("p", { class: "strong" }, title), el("ul", {}, rows), el("small", { class: "dim" }, `Signatures checked by ${await checker()}`));
}
