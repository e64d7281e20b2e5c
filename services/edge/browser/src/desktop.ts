// Notifications of the system, for those who have permitted them, while no tab of the page is in sight.
// Sources: https://notifications.spec.whatwg.org/, https://w3c.github.io/web-locks/

import type { InboxItem } from "./marks.js";

// Held, together with others, by each tab that is in sight: so that the others know.
const IN_SIGHT = "carillon in sight";

/** Whether the user could still be asked. */
export const mayAsk = (): boolean => typeof Notification === "function" && Notification.permission === "default";

/** Asks the user; call it from what they do. */
export const ask = async (): Promise<void> => void (await Notification.requestPermission());

export class Desktop {
  #letGo: (() => void) | null = null;
  readonly #watching = new AbortController();

  /** @param chosen called with an item whose notification was clicked */
  constructor(private readonly chosen: (item: InboxItem) => void) {
    document.addEventListener("visibilitychange", () => this.#look(), { signal: this.#watching.signal });
    this.#look();
  }

  close(): void {
    this.#watching.abort();
    this.#release();
  }

  /** Tells the system, unless somebody sees the page anyway. */
  async tell(items: readonly InboxItem[]): Promise<void> {
    if (typeof Notification !== "function" || Notification.permission !== "granted" || (await isInSight())) return;
    for (const item of [...items].reverse()) this.#notify(item);
  }

  #notify(item: InboxItem): void {
    try {
      // Of several tabs, all out of sight, each says the same: the tag makes it one.
      const notification = new Notification(item.title, { body: item.body ?? "", tag: item.id, dir: "auto" });
      notification.onclick = () => {
        focus();
        notification.close();
        this.chosen(item);
      };
    } catch {
      // Chrome on Android has them for service workers only.
    }
  }

  #look(): void {
    if (document.hidden) return this.#release();
    if (this.#letGo || !navigator.locks) return;
    const held = new Promise<void>((resolve) => (this.#letGo = resolve));
    void navigator.locks.request(IN_SIGHT, { mode: "shared" }, () => held);
  }

  #release(): void {
    this.#letGo?.();
    this.#letGo = null;
  }
}

async function isInSight(): Promise<boolean> {
  if (!document.hidden) return true;
  const held = navigator.locks ? (await navigator.locks.query()).held : undefined;
  return held?.some(({ name }) => name === IN_SIGHT) ?? false;
}
