// Buys by @x402/fetch what standard input asks for, and prints what came of it.
import { readFileSync } from "node:fs";
import { registerExactEvmScheme } from "@x402/evm/exact/client";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { privateKeyToAccount } from "viem/accounts";
import { buyAll } from "./buy.mjs";

const asked = JSON.parse(readFileSync(0, "utf8"));
const client = new x402Client();
registerExactEvmScheme(client, { signer: privateKeyToAccount(asked.key) });
if (asked.spendControls !== undefined) client.setSpendControls(asked.spendControls);
await buyAll(wrapFetchWithPayment(fetch, client), asked.orders);
