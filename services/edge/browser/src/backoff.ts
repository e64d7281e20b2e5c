// How long to wait before the next try. Pure.

/** What a client waits that no server has told otherwise. */
export const RETRY_MS = 2_000;
// A server that was away for an hour is found within half a minute of its return.
const CAP_MS = 30_000;
// `retry: 0` is lawful, and no reason to ask a dead server a thousand times a second.
const LEAST_MS = 100;
/** Beyond 2^31 ms a timer fires at once; nobody wants to be sent away for longer than this anyway. */
export const WAIT_MAX_MS = 3_600_000;

/**
 * Full jitter over an exponential bound: with `retryMs` of 2 s, on average 2 s after the first failure, 4 s after
 * the second, up to 15 s. Nobody comes back in step with the others.
 * Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export function backoffMs(failures: number, retryMs: number, random: number): number {
  const base = Math.max(LEAST_MS, retryMs);
  return Math.round(random * Math.min(Math.max(CAP_MS, base), base * 2 ** failures));
}

/**
 * `Retry-After` in milliseconds (RFC 9110, section 10.2.3): seconds, or a date. A date is compared with the answer's
 * own `Date`, because this machine's clock may be off by hours. Undefined where neither can be read.
 */
export function retryAfterOf({ headers }: { headers: Pick<Headers, "get"> }): number | undefined {
  const text = headers.get("Retry-After") ?? "";
  const ms = /^[0-9]+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.parse(headers.get("Date") ?? "");
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(0, ms), WAIT_MAX_MS);
}
