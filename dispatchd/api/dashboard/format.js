// Numbers, times and names as people read them.

const WHOLE = new Intl.NumberFormat("en");
const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const number = (value) => WHOLE.format(value);

/** Milliseconds as a duration. */
export function duration(millis) {
  if (millis < 1000) return `${Math.max(0, Math.round(millis))} ms`;
  if (millis < 60_000) return `${(millis / 1000).toFixed(millis < 10_000 ? 2 : 1)} s`;
  const minutes = Math.floor(millis / 60_000);
  if (minutes < 60) return `${minutes} min ${Math.round((millis % 60_000) / 1000)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Seconds on a chart's axis. */
export const seconds = (value) => (value < 1 ? `${Math.round(value * 1000)} ms` : `${+value.toFixed(1)} s`);

export const time = (iso) => (iso ? TIME.format(new Date(iso)) : "");

/** The beginning of a key or an id, enough to tell it from others on one page. */
export const short = (id) => (id && id.length > 10 ? `${id.slice(0, 8)}…` : id || "");

export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

/** Atomic units of a token with six decimals. */
export function dollars(atomic) {
  const units = BigInt(atomic);
  const rest = String(units % 1_000_000n).padStart(6, "0").replace(/0{1,3}$/, "");
  return `$${WHOLE.format(units / 1_000_000n)}.${rest}`;
}
