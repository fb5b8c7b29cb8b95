// Checks receipts, bundles and whole chains, as dispatchd/core/receipts.md says them, asking nobody.
//
// Every check is { field, holds, says }. Nothing here throws for what is wrong with a text.

import { fromHex, sha256, signatureHolds, toHex, utf8 } from "./crypto.js";
import { leafHash, rootByPath, rootOf } from "./merkle.js";

const RECEIPT_FIELDS = ["job_id", "provider_pubkey", "output_hash", "completed_at", "payment_ref"];
const ENTRY_FIELDS = ["sequence", "previous", "receipt_hash", "request_hash", "completed_at"];
const ENTRIES_MAX = 100_000;

/** What a pasted text is, and its checks. `knownKey`: the coordinator's key, where it is known. */
export async function verify(text, knownKey = "") {
  const lines = text.trim().split(/\r?\n/);
  const first = parsed(text) ?? parsed(lines[0]);
  if (!isObject(first)) return found("", [bad("text", "it is no JSON object")]);
  if ("coordinator_key" in first && "root" in first) return chain(first, lines.slice(1), knownKey);
  if ("entry" in first && "path" in first) {
    if (parsed(text) !== null) return found("bundle", await bundle(first, knownKey));
    const all = await Promise.all(lines.map((line, i) => lineOf(line, i, knownKey)));
    return found(`${lines.length} bundles`, all.flat());
  }
  if (isObject(first.receipt) && "result" in first) return found("job", await job(first, text));
  if (RECEIPT_FIELDS.every((name) => name in first)) return found("receipt", await alone(first));
  return found("", [bad("text", "it is neither a bundle, a receipt, nor a job with its receipt")]);
}

const found = (kind, checks) => ({ kind, checks, holds: checks.length > 0 && checks.every((check) => check.holds) });

async function lineOf(line, index, knownKey) {
  const where = `line ${index + 1}`;
  const value = parsed(line);
  if (!isObject(value) || !("entry" in value)) return [bad(where, "it is no bundle")];
  return (await bundle(value, knownKey)).map((check) => ({ ...check, field: `${where}: ${check.field}` }));
}

/** A bundle, as GET /v1/receipts/{job_id} gives it. */
async function bundle(value, knownKey) {
  const { entry, root, path } = value;
  if (!isObject(entry) || !isObject(root) || !Array.isArray(path)) {
    return [bad("bundle", "entry, root or path is not what it should be")];
  }
  const checks = [...(await result(value)), await receiptHash(value, entry)];
  checks.push(await signedEntry(entry, root), ...(await signedRoot(root, knownKey)));
  const steps = path.map(fromHex);
  const whole = steps.every((step) => step?.length === 32) && Number.isSafeInteger(entry.sequence) && Number.isSafeInteger(root.size);
  const reached = whole ? await rootByPath(await leafOf(entry), entry.sequence - 1, root.size, steps) : null;
  checks.push(check("path", reached !== null && toHex(reached) === root.root, "leads from the entry to the root", "it does not lead from the entry to the root"));
  return checks;
}

/** Receipt and output, as they stand in a bundle. */
async function result({ receipt, receipt_signature: signature, output }) {
  const stated = typeof receipt === "string" ? parsed(receipt) : null;
  if (!isObject(stated) || typeof output !== "string") return [bad("receipt", "receipt or output is no text")];
  return [await outputHash(stated, output), await signedReceipt(stated, [receipt], signature)];
}

async function outputHash(stated, output) {
  const hash = toHex(await sha256(utf8(output)));
  const wanted = String(stated.output_hash).replace(/^sha256:/, "");
  return check("output_hash", hash === wanted, "the output is the one that was signed", "the output is not the one that was signed");
}

async function signedReceipt(stated, texts, signature) {
  for (const text of texts) {
    if (await signatureHolds(stated.provider_pubkey, utf8(text), signature)) {
      return good("signature", `signed by worker ${String(stated.provider_pubkey).slice(0, 16)}…`);
    }
  }
  return bad("signature", "it is not that of provider_pubkey over this receipt");
}

async function receiptHash({ receipt, receipt_signature: signature }, entry) {
  const hash = toHex(await sha256(utf8(`${receipt}\n${signature}`)));
  return check("receipt_hash", hash === entry.receipt_hash, "the entry is about this receipt", "the entry is about another receipt or signature");
}

const entryText = (entry) => ["dispatchd receipts entry v1", ...ENTRY_FIELDS.map((name) => entry[name])].join("\n");

const leafOf = (entry) => leafHash(utf8(entryText(entry)));

async function signedEntry(entry, root) {
  const holds = await signatureHolds(root.coordinator_key, utf8(entryText(entry)), entry.signature);
  return check("entry", holds, `entry ${entry.sequence} is signed by the coordinator`, "its signature is not that of the coordinator over its fields");
}

async function signedRoot(root, knownKey) {
  const text = `dispatchd receipts root v1\n${root.size}\n${root.root}`;
  const holds = await signatureHolds(root.coordinator_key, utf8(text), root.signature);
  const signed = check("root", holds, `the root over ${root.size} entries is signed by the coordinator`, "its signature is not that of the coordinator over size and root");
  if (!knownKey) return [signed];
  const same = String(root.coordinator_key).toLowerCase() === knownKey.toLowerCase();
  return [check("coordinator_key", same, "it is the key that was given", "it is another coordinator's"), signed];
}

/** A job as the poll shows it; the receipt stands in it with the signature added. */
async function job(value, text) {
  const stated = value.receipt;
  const output = memberText(text, "result");
  const checks = output === null ? [bad("result", "it is missing")] : [await outputHash(stated, output)];
  return [...checks, check("job_id", stated.job_id === value.id, "the receipt is for this job", "the receipt is for another job"), await signedReceipt(stated, printedForms(stated), stated.signature)];
}

/** A receipt with its signature, without the output that it speaks of. */
async function alone(stated) {
  return [await signedReceipt(stated, printedForms(stated), stated.signature ?? stated.receipt_signature)];
}

/** The signed fields as compact JSON, in the order in which they came. */
function printedForms(stated) {
  const kept = Object.entries(stated).filter(([name]) => RECEIPT_FIELDS.includes(name));
  return [JSON.stringify(Object.fromEntries(kept))];
}

/** A whole chain: the signed root, then its entries, one a line, some with receipt and output. */
async function chain(root, lines, knownKey) {
  const checks = await signedRoot(root, knownKey);
  if (lines.length > ENTRIES_MAX) return found("chain", [...checks, bad("chain", `more than ${ENTRIES_MAX} entries; use dispatchd receipt verify`)]);
  const leaves = [];
  let previous = "0".repeat(64);
  for (const [index, line] of lines.entries()) {
    const wrong = await badLink(parsed(line), index + 1, previous, root);
    if (wrong) return found("chain", [...checks, wrong]);
    const leaf = await leafOf(parsed(line).entry);
    previous = toHex(leaf);
    leaves.push(leaf);
  }
  checks.push(good("entries", `${leaves.length} entries follow one another`));
  checks.push(check("size", leaves.length === root.size, "none is missing", `the root is over ${root.size} entries, and here are ${leaves.length}`));
  checks.push(check("root", toHex(await rootOf(leaves)) === root.root, "it is over these entries", "it is not over these entries"));
  return found("chain", checks);
}

/** The first thing that is wrong with an entry; null where nothing is. */
async function badLink(line, sequence, previous, root) {
  const where = `entry ${sequence}`;
  const entry = line?.entry;
  if (!isObject(entry)) return bad(where, "it is no entry");
  if (entry.sequence !== sequence) return bad(where, `it is missing: entry ${entry.sequence} stands in its place`);
  if (entry.previous !== previous) return bad(`${where}: previous`, "it is not the hash of the one before");
  const checks = [await signedEntry(entry, root)];
  if ("receipt" in line) checks.push(...(await result(line)), await receiptHash(line, entry));
  const wrong = checks.find((each) => !each.holds);
  return wrong ? { ...wrong, field: `${where}: ${wrong.field}` } : null;
}

/** The text of a top-level member exactly as it stands in an object's JSON; null where it is not there. */
export function memberText(text, name) {
  const token = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;
  let depth = 0;
  let key = null;
  let start = -1;
  for (let match = token.exec(text); match; match = token.exec(text)) {
    const piece = match[0];
    if (depth === 1 && start >= 0 && (piece === "," || piece === "}")) return text.slice(start, match.index).trim();
    if (depth === 1 && piece === ":" && key === JSON.stringify(name)) start = match.index + 1;
    if (depth === 1) key = piece;
    if (piece === "{" || piece === "[") depth += 1;
    if (piece === "}" || piece === "]") depth -= 1;
  }
  return null;
}

const good = (field, says) => ({ field, holds: true, says });
const bad = (field, says) => ({ field, holds: false, says });
const check = (field, holds, yes, no) => (holds ? good(field, yes) : bad(field, no));
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
