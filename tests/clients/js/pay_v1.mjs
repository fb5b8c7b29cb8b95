// Buys by x402-fetch what standard input asks for, and prints what came of it.
import { readFileSync } from "node:fs";
import { createSigner, wrapFetchWithPayment } from "x402-fetch";
import { buyAll } from "./buy.mjs";

const asked = JSON.parse(readFileSync(0, "utf8"));
const signer = await createSigner(asked.network, asked.key);
await buyAll(wrapFetchWithPayment(fetch, signer), asked.orders);
