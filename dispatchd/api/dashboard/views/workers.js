// A card for each connected worker.

import { el, keyed, write } from "../dom.js";
import { number, plural, short } from "../format.js";

const KNOWN = new Set(["provider_pubkey", "provider_type", "capabilities", "models", "device", "max_concurrent_jobs", "active_jobs", "record", "proven", "online"]);
const TILES_MAX = 32;

export function workersView() {
  const list = el("ul", { class: "cards" });
  const heading = el("h2", {}, "Workers");
  const news = el("p", { class: "dim", role: "status" });
  const empty = el("p", { class: "empty" }, "Nobody works here yet. ", el("a", { href: "#join" }, "Join with a machine"), ".");
  const node = el("section", {}, heading, news, empty, list);
  let before = null;
  return {
    node,
    update(state) {
      const workers = [...state.workers.values()];
      const more = state.now.workers_online - workers.length;
      write(heading, `${plural(state.now.workers_online, "worker")} online`);
      empty.hidden = workers.length > 0;
      write(news, told(before, state.workers, news.textContent) + (more > 0 ? ` ${more} more are not shown.` : ""));
      before = new Set(state.workers.keys());
      keyed(list, workers, (worker) => worker.provider_pubkey, card, updateCard);
    },
  };
}

/** Who has come and gone since the last look; what was said stays until there is more to say. */
function told(before, workers, said) {
  if (before === null) return "";
  const come = [...workers.keys()].filter((key) => !before.has(key));
  const gone = [...before].filter((key) => !workers.has(key));
  const parts = [];
  if (come.length) parts.push(`${come.slice(0, 3).map(short).join(", ")} joined`);
  if (gone.length) parts.push(`${gone.slice(0, 3).map(short).join(", ")} left`);
  return parts.length ? `${new Date().toLocaleTimeString("en-GB")}: ${parts.join("; ")}.` : said;
}

function card() {
  const parts = {
    name: el("code", { class: "strong" }),
    type: el("span", { class: "tag" }),
    proven: el("span", { class: "tag" }),
    load: el("span", { class: "dim" }),
    tiles: el("div", { class: "tiles", "aria-hidden": "true" }),
    facts: el("dl", { class: "facts" }),
  };
  const row = el("li", { class: "card worker" }, el("div", { class: "row between" }, parts.name, el("span", { class: "row" }, parts.proven, parts.type)), el("div", { class: "row" }, parts.tiles, parts.load), parts.facts);
  return Object.assign(row, { parts });
}

function updateCard(row, worker) {
  const { parts } = row;
  row.dataset.key = worker.provider_pubkey;
  write(parts.name, short(worker.provider_pubkey));
  parts.name.title = worker.provider_pubkey;
  write(parts.type, worker.provider_type);
  parts.proven.hidden = worker.proven === undefined;
  write(parts.proven, worker.proven ? "key proven" : "key not proven");
  parts.proven.dataset.good = String(Boolean(worker.proven));
  const places = worker.max_concurrent_jobs;
  write(parts.load, `${worker.active_jobs} of ${plural(places, "place")} busy`);
  const tiles = Array.from({ length: Math.min(places, TILES_MAX) }, (_, i) => i);
  keyed(parts.tiles, tiles, (i) => i, () => el("i"), (tile, i) => tile.classList.toggle("busy", i < worker.active_jobs));
  keyed(parts.facts, facts(worker), ([name]) => name, fact, (node, [, text]) => write(node.lastChild, text));
}

/** Name and text of each fact; fields that this page does not know are shown as they came. */
function facts(worker) {
  const found = [
    ["does", worker.capabilities.join(", ")],
    ["model", worker.models.join(", ") || "not said"],
    ["device", worker.device || "not said"],
    ["record", record(worker.record)],
  ];
  for (const [name, value] of Object.entries(worker)) {
    if (!KNOWN.has(name) && value !== null) found.push([name.replaceAll("_", " "), plain(value)]);
  }
  return found;
}

function record(counts = {}) {
  const done = Object.entries(counts).filter(([name, count]) => count && name !== "completed");
  const rest = done.map(([name, count]) => `${plain(count)} ${name.replaceAll("_", " ")}`);
  return [`${number(counts.completed || 0)} completed`, ...rest].join(", ");
}

function plain(value) {
  if (Array.isArray(value)) return value.map(plain).join(", ");
  if (typeof value === "number") return number(value);
  if (typeof value === "object" && value !== null) {
    return Object.entries(value).map(([name, each]) => `${name.replaceAll("_", " ")} ${plain(each)}`).join(", ");
  }
  return String(value);
}

const fact = ([name]) => el("div", {}, el("dt", {}, name), el("dd"));
