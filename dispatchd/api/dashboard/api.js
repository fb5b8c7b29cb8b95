// Asks the node. The visitor's API key stays in this page's memory and goes nowhere else.

export class Refused extends Error {
  constructor(status, body) {
    const detail = body.detail ? ` (${body.detail})` : "";
    super(`${body.error || `The node answers ${status}`}${detail}`);
    this.status = status;
    this.body = body;
    this.hint = body.hint || "";
  }
}

export class Api {
  #key = "";

  get key() {
    return this.#key;
  }

  set key(value) {
    this.#key = value.trim();
  }

  /** A reply of any status; throws where the node cannot be reached. */
  async ask(path, { method = "GET", body, headers = {}, signal } = {}) {
    const sent = { ...headers };
    if (this.#key) sent.Authorization = `Bearer ${this.#key}`;
    if (body !== undefined) sent["Content-Type"] = "application/json";
    const text = body === undefined ? undefined : JSON.stringify(body);
    return fetch(path, { method, headers: sent, body: text, signal, cache: "no-store" });
  }

  /** The text of a reply that is no error; throws `Refused`. */
  async text(path, options) {
    const reply = await this.ask(path, options);
    const text = await reply.text();
    if (!reply.ok) throw new Refused(reply.status, parsed(text));
    return text;
  }

  async json(path, options) {
    return JSON.parse(await this.text(path, options));
  }

  /** Server-sent events, which EventSource cannot ask for with a key; throws `Refused`. */
  async *events(path, signal) {
    const reply = await this.ask(path, { headers: { Accept: "text/event-stream" }, signal });
    if (!reply.ok) throw new Refused(reply.status, parsed(await reply.text()));
    const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const event = parsedEvent(block);
        if (event) yield event;
      }
    }
  }
}

function parsedEvent(block) {
  let kind = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event: ")) kind = line.slice(7);
    else if (line.startsWith("data: ")) data.push(line.slice(6));
  }
  return data.length ? { kind, text: data.join("\n") } : null;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
