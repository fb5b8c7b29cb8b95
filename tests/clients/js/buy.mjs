// Sends each order with a fetch that pays; prints a JSON list of replies, or of errors.
export async function buyAll(pay, orders) {
  const came = [];
  for (const { url, body } of orders) came.push(await buy(pay, url, body));
  console.log(JSON.stringify(came));
}

async function buy(pay, url, body) {
  const headers = { "content-type": "application/json" };
  try {
    const reply = await pay(url, { method: "POST", headers, body: JSON.stringify(body) });
    const text = await reply.text();
    return { status: reply.status, headers: Object.fromEntries(reply.headers), text };
  } catch (error) {
    return { error: String(error) };
  }
}
