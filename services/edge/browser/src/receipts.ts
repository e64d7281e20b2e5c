// Tells the edge which traced events have arrived: the last step of their journey. Nothing depends on it.

import type { CarillonEvent } from "./event.js";
import type { Request } from "./session.js";

// A user may send one request a second, from all browsers.
const RECEIPTS_EVERY_MS = 5_000;
// What the edge takes at once; of more in five seconds, the first tell enough.
const RECEIPTS_MAX = 100;

export class Receipts {
  #received: [cursor: string, at: number][] = [];

  constructor(private readonly request: Request) {}

  note({ traceparent }: CarillonEvent, cursor: string): void {
    // The last bit of the flags: somebody keeps this trace (W3C trace context, section 3.2.2.5).
    if (!/[13579bdf]$/.test(traceparent ?? "") || this.#received.length >= RECEIPTS_MAX) return;
    if (this.#received.push([cursor, Date.now()]) === 1) setTimeout(() => this.#send(), RECEIPTS_EVERY_MS);
  }

  #send(): void {
    const now = Date.now();
    // The clock may have been set back since.
    const received = this.#received.map(([cursor, at]) => ({ cursor, ago_ms: Math.max(0, now - at) }));
    this.#received = [];
    const headers = { "Content-Type": "application/json" };
    this.request("/v1/receipts", { method: "POST", headers, body: JSON.stringify({ received }) }).catch(() => undefined);
  }
}
