// Starts the page: the views, the way between them, the live connection, the visitor's API key.

import { Api } from "./api.js";
import { el, field, write } from "./dom.js";
import { plural } from "./format.js";
import { Live } from "./live.js";
import { jobView } from "./views/job.js";
import { jobsView } from "./views/jobs.js";
import { joinView } from "./views/join.js";
import { moneyView } from "./views/money.js";
import { nowView } from "./views/now.js";
import { tryView } from "./views/try.js";
import { verifyView } from "./views/verify.js";
import { workersView } from "./views/workers.js";

const VIEWS = {
  now: ["Now", nowView],
  jobs: ["Jobs", jobsView],
  workers: ["Workers", workersView],
  try: ["Try it", tryView],
  verify: ["Verify", verifyView],
  join: ["Join", joinView],
  money: ["Money", moneyView],
  job: ["Job", jobView],
};
const UNDER = { job: "jobs" };
const TICK_MILLIS = 1000;

const $ = (id) => document.getElementById(id);
const api = new Api();
const live = new Live(api, soon, linked);
const made = new Map();
let shown = null;
let drawing = false;

/** Draws in the next frame, once however much has changed until then. */
function soon() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    draw();
  });
}

function draw() {
  const { about } = live.state;
  if (!about) return;
  write($("network"), about.network);
  write($("about"), `dispatchd ${about.version} · ${about.network}`);
  document.title = `dispatchd · ${plural(live.state.now.workers_online, "worker")}`;
  links.get("money").hidden = about.payments === "off";
  shown?.update(live.state);
}

function linked(state, text) {
  $("link").dataset.state = state;
  write($("link"), text);
}

function go(name, parameter = "") {
  location.hash = parameter ? `${name}/${parameter}` : name;
}

function navigate() {
  const [name, parameter = ""] = location.hash.slice(1).split("/");
  const wanted = Object.hasOwn(VIEWS, name) ? name : "now";
  shown?.hide?.();
  if (!made.has(wanted)) made.set(wanted, VIEWS[wanted][1]({ api, live, go }));
  shown = made.get(wanted);
  $("main").replaceChildren(shown.node);
  for (const [each, link] of links) {
    if (each === (UNDER[wanted] || wanted)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  reveal(links.get(UNDER[wanted] || wanted));
  scrollTo(0, 0);
  Promise.resolve(shown.show?.(parameter)).then(soon);
  soon();
}

/** Scrolls the row of views alone: `scrollIntoView` would also move where Tab begins. */
function reveal(link) {
  const nav = $("nav");
  nav.scrollLeft = link.offsetLeft - nav.offsetLeft - (nav.clientWidth - link.offsetWidth) / 2;
}

const links = new Map();
for (const [name, [label]] of Object.entries(VIEWS)) {
  if (name in UNDER) continue;
  const link = el("a", { href: `#${name}`, hidden: name === "money" }, label);
  links.set(name, link);
  $("nav").append(link);
}

/** The key lives in this page's memory: another tab, or a reload, does not know it. */
function keyForm() {
  const input = el("input", { type: "password", autocomplete: "off", id: "api-key" });
  const summary = el("summary", {}, "API key");
  const use = (event) => {
    event.preventDefault();
    api.key = input.value;
    input.value = "";
    write(summary, api.key ? "API key in use" : "API key");
    $("key").open = false;
    live.restart();
    shown?.show?.(location.hash.split("/")[1] || "");
  };
  $("key").append(summary, el("form", { class: "form", onsubmit: use }, field("A user's API key", input, "Kept in this page's memory only."), el("div", { class: "row" }, el("button", {}, "Use"))));
}

keyForm();
addEventListener("hashchange", () => {
  navigate();
  $("main").focus({ preventScroll: true });
});
setInterval(() => {
  if (shown?.ticks && !document.hidden) soon();
}, TICK_MILLIS);
navigate();
live.run();
