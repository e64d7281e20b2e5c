// Which toasts are there, and until when. Pure: it knows no clock and no page.

/** More at once are no news any more; the bell counts them all. */
const TOASTS_MAX = 3;
// Two lines are read in it by those who look up late; nobody loses what stays in the inbox.
const TOAST_MS = 6_000;

export class ToastLine {
  /** Each with the time that it has left, oldest first. */
  readonly #left = new Map<string, number>();
  /** Since when time goes by; null while somebody reads. */
  #since: number | null = 0;

  get ids(): string[] {
    return [...this.#left.keys()];
  }

  /** When the next is due, for who does not touch them; null where none is. */
  get nextMs(): number | null {
    return this.#since === null || !this.#left.size ? null : Math.min(...this.#left.values());
  }

  /** Puts it at the end; the oldest goes where there are too many. */
  add(id: string, now: number): void {
    this.#pass(now);
    this.#left.delete(id);
    this.#left.set(id, TOAST_MS);
    if (this.#left.size > TOASTS_MAX) this.#left.delete(this.ids[0]!);
  }

  remove(id: string): void {
    this.#left.delete(id);
  }

  /** Takes out those whose time is over. */
  pass(now: number): void {
    this.#pass(now);
    for (const [id, left] of this.#left) if (left <= 0) this.#left.delete(id);
  }

  /** Somebody reads them: no time goes by. */
  hold(now: number): void {
    this.#pass(now);
    this.#since = null;
  }

  /** Nobody does any more: each is there for as long as a new one. */
  release(now: number): void {
    this.#since = now;
    for (const id of this.#left.keys()) this.#left.set(id, TOAST_MS);
  }

  #pass(now: number): void {
    if (this.#since === null) return;
    const passed = Math.max(0, now - this.#since);
    for (const [id, left] of this.#left) this.#left.set(id, left - passed);
    this.#since = now;
  }
}
