// The tabs of one browser that share a connection: who leads (Web Locks), and how they talk (BroadcastChannel).
// Sources: https://w3c.github.io/web-locks/, https://html.spec.whatwg.org/multipage/web-messaging.html

import type { Message } from "./tab.js";

/** Whether tabs can share here. Web Locks are there in secure contexts only: https, or http on this machine. */
export const canShare = (): boolean =>
  typeof BroadcastChannel === "function" && typeof navigator === "object" && navigator.locks !== undefined;

export interface Events {
  elected(): void;
  deposed(): void;
  message(message: Message): void;
}

export class Group {
  readonly #channel: BroadcastChannel;
  readonly #left = new AbortController();
  #giveUp: () => void = () => undefined;

  constructor(
    readonly name: string,
    private readonly events: Events,
  ) {
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }: MessageEvent<Message>) => events.message(data);
    this.#stand({ signal: this.#left.signal });
  }

  post(message: Message): void {
    this.#channel.postMessage(message);
  }

  /** Takes the lead from a tab that does not answer. */
  depose(): void {
    this.#stand({ steal: true });
  }

  leave(): void {
    this.#left.abort();
    this.#giveUp();
    this.#channel.close();
  }

  #stand(options: LockOptions): void {
    const held = navigator.locks.request(this.name, options, () => {
      if (this.#left.signal.aborted) return undefined;
      const leading = new Promise<void>((resolve) => (this.#giveUp = resolve));
      this.events.elected();
      return leading;
    });
    held.catch((error: unknown) => {
      if (this.#left.signal.aborted) return;
      // No locks in this frame after all, such as a sandboxed one: then it has nobody to share with either.
      if ((error as Error).name !== "AbortError") return this.events.elected();
      // Another tab has stolen the lock: next in line, like everybody else.
      this.events.deposed();
      this.#stand({ signal: this.#left.signal });
    });
  }
}
