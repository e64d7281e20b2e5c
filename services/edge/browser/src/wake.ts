// What the browser tells of sleep, of the network, and of pages that leave and come back.

export interface Wakes {
  /** Look now: the page is visible again, the network is back, or the system was asleep. */
  woken(): void;
  /** The network seems to be gone. */
  lost(): void;
  /** The page is going, or is kept in the back/forward cache: let go of what other tabs need. */
  hidden(): void;
  /** It is back from there. */
  restored(): void;
}

/** Listens until the function returned is called. Where there is no page, as in Node, there is nothing to hear. */
export function listen(wakes: Wakes): () => void {
  if (typeof addEventListener !== "function" || typeof document !== "object") return () => undefined;
  const listening = new AbortController();
  const on = (target: EventTarget, type: string, call: (event: Event) => void): void =>
    target.addEventListener(type, call, { signal: listening.signal });
  on(globalThis as unknown as EventTarget, "online", () => wakes.woken());
  on(globalThis as unknown as EventTarget, "offline", () => wakes.lost());
  on(document, "visibilitychange", () => document.visibilityState === "visible" && wakes.woken());
  on(document, "resume", () => wakes.woken());
  on(globalThis as unknown as EventTarget, "pagehide", () => wakes.hidden());
  on(globalThis as unknown as EventTarget, "pageshow", (event) => (event as PageTransitionEvent).persisted && wakes.restored());
  return () => listening.abort();
}
