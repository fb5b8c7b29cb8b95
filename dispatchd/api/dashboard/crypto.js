// SHA-256 and ed25519: WebCrypto's where the browser has them, else those of vendor/ed25519.js.
//
// Browsers keep WebCrypto from pages that come over plain HTTP from another machine, as this one
// often does; the check must not depend on that.

let vendored = null;
let native = null;

async function noble() {
  vendored ??= import("./vendor/ed25519.js");
  return vendored;
}

/** Whether WebCrypto knows ed25519 here. */
async function isNative() {
  native ??= (async () => {
    const subtle = globalThis.crypto?.subtle;
    if (!subtle) return false;
    try {
      await subtle.importKey("raw", new Uint8Array(32), "Ed25519", false, ["verify"]);
      return true;
    } catch {
      return false;
    }
  })();
  return native;
}

/** Whose code checks signatures here, in words. */
export async function checker() {
  return (await isNative()) ? "WebCrypto" : "noble-ed25519 (this browser has no WebCrypto for it here)";
}

export async function sha256(bytes) {
  if (globalThis.crypto?.subtle) return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return (await noble()).sha256(bytes);
}

/** Whether a key (64 hex digits) has signed these bytes; false also for what is no key or signature. */
export async function signatureHolds(keyHex, bytes, signatureBase64) {
  const key = fromHex(keyHex);
  const signature = fromBase64(signatureBase64);
  if (key?.length !== 32 || signature?.length !== 64) return false;
  if (await isNative()) return nativeHolds(key, bytes, signature);
  const { verify } = await noble();
  try {
    return verify(signature, bytes, key, { zip215: false });
  } catch {
    return false;
  }
}

async function nativeHolds(key, bytes, signature) {
  try {
    const imported = await crypto.subtle.importKey("raw", key, "Ed25519", false, ["verify"]);
    return await crypto.subtle.verify("Ed25519", imported, signature, bytes);
  } catch {
    return false;
  }
}

export function fromHex(text) {
  if (typeof text !== "string" || !/^([0-9a-fA-F]{2})*$/.test(text)) return null;
  return Uint8Array.from(text.match(/../g) || [], (pair) => parseInt(pair, 16));
}

export const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

export const utf8 = (text) => new TextEncoder().encode(text);

function fromBase64(text) {
  try {
    const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
    return btoa(String.fromCharCode(...bytes)) === text ? bytes : null;
  } catch {
    return null;
  }
}
