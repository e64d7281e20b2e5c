// Which rows have been in sight for a second: those are seen.

/** As long as a glance that takes a line in. */
const SEEN_AFTER_MS = 1_000;

export class Sight {
  readonly #due = new Map<Element, ReturnType<typeof setTimeout>>();
  /** Once is enough, also where the server did not take it. */
  readonly #noted = new WeakSet<Element>();
  readonly #observer: IntersectionObserver;
  #seen: Element[] = [];

  /** `seen` is called with rows that were in sight together, in a page that was, too. */
  constructor(
    root: Element,
    private readonly seen: (rows: Element[]) => void,
  ) {
    this.#observer = new IntersectionObserver((changes) => changes.forEach((change) => this.#heed(change)), { root, threshold: 0.6 });
  }

  watch(row: Element): void {
    if (!this.#noted.has(row)) this.#observer.observe(row);
  }

  forget(row: Element): void {
    this.#observer.unobserve(row);
    this.#stop(row);
  }

  #heed({ target, isIntersecting }: IntersectionObserverEntry): void {
    if (!isIntersecting) this.#stop(target);
    else if (!this.#due.has(target)) this.#wait(target);
  }

  #wait(row: Element): void {
    this.#due.set(
      row,
      setTimeout(() => (document.hidden ? this.#wait(row) : this.#note(row)), SEEN_AFTER_MS),
    );
  }

  #stop(row: Element): void {
    clearTimeout(this.#due.get(row));
    this.#due.delete(row);
  }

  #note(row: Element): void {
    this.forget(row);
    this.#noted.add(row);
    if (this.#seen.push(row) > 1) return;
    setTimeout(() => this.seen(this.#seen.splice(0)));
  }
}
