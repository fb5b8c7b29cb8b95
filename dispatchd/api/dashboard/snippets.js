// The same job for a terminal and for Python, to copy.

/** In single quotes for a POSIX shell. */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** A string as Python reads it. JSON's escapes are Python's too, but for half a surrogate pair. */
const literal = (text) => JSON.stringify(text);

export function curl(origin, endpoint, order, key) {
  const lines = [
    `curl -X POST ${origin}${endpoint}`,
    `-H "Content-Type: application/json"`,
    key ? `-H "Authorization: Bearer $DISPATCHD_API_KEY"` : null,
    `-d ${quoted(JSON.stringify(order))}`,
  ];
  const shown = key ? `-H "Authorization: Bearer $DISPATCHD_API_KEY" ` : "";
  return `${lines.filter(Boolean).join(" \\\n  ")}\n\ncurl -N ${shown}${origin}/v1/jobs/JOB_ID/events   # JOB_ID from the reply`;
}

export function python(origin, network, policy, order, key) {
  const { payload } = order;
  const chain = network.startsWith("solana") ? "solana" : "monad";
  const rest = [`user_id=${literal(order.user_id)}`, `policy=${literal(policy)}`];
  if (chain !== "monad") rest.push(`chain_preference=${literal(chain)}`);
  if (order.privacy_class === "PRIVATE") rest.push(`privacy="PRIVATE"`);
  const call =
    payload.job_type === "LLM_INFER"
      ? `run_llm(prompt=${literal(payload.prompt)}, max_tokens=${payload.max_tokens}, ${rest.join(", ")})`
      : `run_task(${literal(payload.task_type)}, ${literal(payload.input)}, ${rest.join(", ")})`;
  return [
    "from dispatchd import ComputeRouter",
    "",
    `router = ComputeRouter.sync({${literal(chain)}: ${literal(origin)}})${key ? "  # with the key in DISPATCHD_API_KEY" : ""}`,
    `result = router.${call}`,
    "print(result.output)",
    "router.verify(result)  # raises where the receipt does not hold",
  ].join("\n");
}

export function worker(origin, code) {
  return `dispatchd worker --coordinator ${origin}${code ? ` --trust-code ${code}` : ""}`;
}

export function terminal(origin, policy, order, pay) {
  const { payload } = order;
  const what =
    payload.job_type === "LLM_INFER"
      ? `llm ${quoted(payload.prompt)} --max-tokens ${payload.max_tokens}`
      : `task ${payload.task_type} ${quoted(payload.input)}`;
  const whose = `--user-id ${quoted(order.user_id)}${order.privacy_class === "PRIVATE" ? " --private" : ""}`;
  return `dispatchd submit ${what} ${whose} --policy ${policy}${pay ? ` --pay ${pay}` : ""} --coordinator ${origin}`;
}
