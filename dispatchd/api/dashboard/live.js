// Holds what the node says of the network, and keeps up with it. What is held is bounded.

const JOBS_MAX = 200;
const WINDOW_SECONDS = 900;
const BUCKET_SECONDS = 5;
const MINUTE_MILLIS = 60_000;
const RETRY_MILLIS = [500, 1000, 2000, 5000];

export class Live {
  state = { about: null, now: null, series: new Map(), workers: new Map(), jobs: new Map(), skew: 0 };
  events = 0;
  #api;
  #changed;
  #linked;
  #stop = new AbortController();

  /** `changed` is called at most once a frame, `linked` with how the connection is. */
  constructor(api, changed, linked) {
    this.#api = api;
    this.#changed = changed;
    this.#linked = linked;
  }

  /** The node's clock, in milliseconds. */
  get now() {
    return Date.now() + this.state.skew;
  }

  /** Connects anew, for example because the visitor has given another key. */
  restart() {
    this.#stop.abort();
    this.#stop = new AbortController();
    this.run(this.#stop.signal);
  }

  async run(signal = this.#stop.signal) {
    for (let tries = 0; !signal.aborted; tries += 1) {
      try {
        for await (const event of this.#api.events("/v1/network/events", signal)) {
          tries = 0;
          this.#apply(event.kind, JSON.parse(event.text));
          this.#linked("live", "live");
          this.#changed();
        }
      } catch (error) {
        if (signal.aborted) return;
        if (error.status === 401) {
          this.#linked("refused", "this node wants an API key");
          return;
        }
      }
      if (signal.aborted) return;
      this.#linked("lost", "connection lost, trying again …");
      await pause(RETRY_MILLIS[Math.min(tries, RETRY_MILLIS.length - 1)]);
    }
  }

  #apply(kind, data) {
    const state = this.state;
    this.events += 1;
    state.skew = Date.parse(data.timestamp) - Date.now();
    if (kind === "snapshot") {
      state.about = data;
      state.series.clear();
      state.workers.clear();
      state.jobs.clear();
    }
    state.now = data.now;
    for (const bucket of data.series) state.series.set(bucket.at, bucket);
    for (const worker of data.workers) state.workers.set(worker.provider_pubkey, worker);
    if (data.present) {
      const present = new Set(data.present);
      for (const key of state.workers.keys()) if (!present.has(key)) state.workers.delete(key);
    }
    // Newest first in each event; in the map the latest that changed stands last.
    for (const job of data.jobs.toReversed()) {
      state.jobs.delete(job.id);
      state.jobs.set(job.id, job);
    }
    this.#prune();
  }

  #prune() {
    const { series, jobs } = this.state;
    const oldest = this.now / 1000 - WINDOW_SECONDS - 10;
    for (const at of series.keys()) if (at < oldest) series.delete(at);
    for (const id of jobs.keys()) {
      if (jobs.size <= JOBS_MAX) break;
      jobs.delete(id);
    }
  }
}

/** Jobs completed in the last minute, to five seconds: while nothing happens the node says nothing. */
export function completedLately(state, now) {
  const first = (now - MINUTE_MILLIS) / 1000 - BUCKET_SECONDS;
  const buckets = [...state.series.values()].filter((bucket) => bucket.at > first);
  const shares = buckets.flatMap((bucket) => Object.values(bucket.completed));
  return shares.reduce((sum, share) => sum + share.completed, 0);
}

/** The latest jobs, by commit. */
export function latest(state, most) {
  return [...state.jobs.values()].sort((a, b) => (a.created_at < b.created_at ? 1 : -1)).slice(0, most);
}

export const pause = (millis) => new Promise((done) => setTimeout(done, millis));
