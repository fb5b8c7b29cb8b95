// The Merkle tree of RFC 6962, section 2.1, and how a path in it is checked (RFC 9162, 2.1.3.2).

import { sha256 } from "./crypto.js";

/** The hash of a leaf's bytes. */
export const leafHash = (bytes) => sha256(joined(Uint8Array.of(0), bytes));

const nodeHash = (left, right) => sha256(joined(Uint8Array.of(1), left, right));

/** The root that a path leads to from leaf `index` of `size`; null where it has the wrong length. */
export async function rootByPath(leaf, index, size, path) {
  if (index < 0 || index >= size) return null;
  let [at, last, hash] = [BigInt(index), BigInt(size - 1), leaf];
  for (const other of path) {
    if (last === 0n) return null;
    if (at & 1n || at === last) {
      hash = await nodeHash(other, hash);
      while (!(at & 1n) && at) [at, last] = [at >> 1n, last >> 1n];
    } else {
      hash = await nodeHash(hash, other);
    }
    [at, last] = [at >> 1n, last >> 1n];
  }
  return last === 0n ? hash : null;
}

/** The root over all leaves, in order. */
export async function rootOf(leaves) {
  if (!leaves.length) return sha256(new Uint8Array());
  let level = leaves;
  // Pairs from the left; one that is left over goes up as it is, which gives the same tree.
  while (level.length > 1) {
    const above = [];
    for (let i = 0; i + 1 < level.length; i += 2) above.push(await nodeHash(level[i], level[i + 1]));
    if (level.length % 2) above.push(level.at(-1));
    level = above;
  }
  return level[0];
}

function joined(...parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
