// Who wants to hear what. A handler that throws is reported as the browser reports its own, and stops nobody else.

/** Ends what was begun; safe to call twice. */
export type Unsubscribe = () => void;

/** Whether a type is meant by a pattern, in which `*` stands for any text. */
export function matcher(pattern: string): (type: string) => boolean {
  if (!pattern.includes("*")) return (type) => type === pattern;
  const escaped = pattern.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replace(/\*/g, ".*");
  const expression = new RegExp(`^${escaped}$`, "s");
  return (type) => expression.test(type);
}

export class Handlers<Arguments extends unknown[]> {
  readonly #all = new Set<(...args: Arguments) => void>();

  add(handler: (...args: Arguments) => void): Unsubscribe {
    // Its own function each time: the same handler added twice is called twice.
    const entry = (...args: Arguments): void => handler(...args);
    this.#all.add(entry);
    return () => void this.#all.delete(entry);
  }

  call(...args: Arguments): void {
    for (const entry of [...this.#all]) {
      try {
        // One that was removed by another a moment ago is not called any more.
        if (this.#all.has(entry)) entry(...args);
      } catch (error) {
        report(error);
      }
    }
  }
}

function report(error: unknown): void {
  if (typeof reportError === "function") reportError(error);
  else console.error(error);
}
