// New notifications, in a corner of the page for a moment. They take no focus, and what is said of them is said once, by
// the element's own live region.

import { create, icon } from "./elements.js";
import { drawn, type RowHost } from "./inbox-row.js";
import type { InboxItem } from "./marks.js";
import { ToastLine } from "./toast-line.js";

export class Toasts {
  // In the top layer, whatever the page has stacked, clipped or transformed around the bell.
  readonly element = create("div", { class: "toasts", part: "toasts", role: "group", popover: "manual" });
  readonly #line = new ToastLine();
  readonly #toasts = new Map<string, HTMLElement>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #cameFrom: EventTarget | null = null;

  /** @param goBack where the focus goes that was in a toast, if it came from nowhere */
  constructor(
    private readonly host: RowHost,
    private readonly goBack: () => void,
  ) {
    const on = (type: string, call: (event: Event) => void): void => this.element.addEventListener(type, call);
    on("pointerenter", () => this.#hold());
    on("pointerleave", () => this.#release());
    on("focusin", (event) => this.#entered(event as FocusEvent));
    on("focusout", () => this.#release());
    on("keydown", (event) => this.#pressed(event as KeyboardEvent));
  }

  /** Newest first, as they arrive. */
  show(items: readonly InboxItem[]): void {
    for (const item of [...items].reverse()) {
      this.#line.add(item.id, Date.now());
      this.#toasts.get(item.id)?.remove();
      this.#toasts.set(item.id, this.#toast(item));
    }
    this.#settle();
  }

  /** Takes away those that are no news any more. */
  keep(isNews: (id: string) => boolean): void {
    const old = this.#line.ids.filter((id) => !isNews(id));
    for (const id of old) this.#line.remove(id);
    if (old.length) this.#settle();
  }

  clear(): void {
    this.keep(() => false);
  }

  #toast(item: InboxItem): HTMLElement {
    const toast = create("div", { class: "toast", part: "toast", "data-level": item.level });
    const { main } = drawn(item, this.host);
    main.addEventListener("click", () => this.#dismiss(item.id));
    const dismiss = create("button", { type: "button", class: "icon dismiss", part: "toast-dismiss", "aria-label": this.host.words.dismiss(item.title) });
    dismiss.append(icon("close"));
    dismiss.addEventListener("click", () => this.#dismiss(item.id));
    toast.append(main, dismiss);
    return toast;
  }

  #dismiss(id: string): void {
    this.#line.remove(id);
    this.#settle();
  }

  /** Shows those of the line, and waits for the next that is due. */
  #settle(): void {
    clearTimeout(this.#timer);
    this.#line.pass(Date.now());
    const ids = this.#line.ids;
    for (const [id, toast] of this.#toasts) if (!ids.includes(id)) this.#remove(id, toast);
    // The newest is next to the corner, and first for the keys. What is there already keeps its focus.
    const added = ids.map((id) => this.#toasts.get(id)!).filter((toast) => toast.parentNode === null);
    this.element.prepend(...added.reverse());
    if (this.element.isConnected) this.element.togglePopover(ids.length > 0);
    const { nextMs } = this.#line;
    if (nextMs !== null) this.#timer = setTimeout(() => this.#settle(), nextMs);
  }

  #remove(id: string, toast: HTMLElement): void {
    const hadFocus = toast.contains((this.element.getRootNode() as ShadowRoot | Document).activeElement);
    this.#toasts.delete(id);
    toast.remove();
    if (!hadFocus) return;
    if (this.#cameFrom instanceof HTMLElement && this.#cameFrom.isConnected) this.#cameFrom.focus();
    else this.goBack();
  }

  // While somebody reads, nothing goes.

  get #isRead(): boolean {
    return this.element.matches(":hover, :focus-within");
  }

  #hold(): void {
    this.#line.hold(Date.now());
    clearTimeout(this.#timer);
  }

  #release(): void {
    // After the focus has arrived where it goes to.
    queueMicrotask(() => {
      if (this.#isRead) return;
      this.#line.release(Date.now());
      this.#settle();
    });
  }

  #entered({ relatedTarget }: FocusEvent): void {
    if (!this.element.contains(relatedTarget as Node | null)) this.#cameFrom = relatedTarget;
    this.#hold();
  }

  #pressed(key: KeyboardEvent): void {
    const at = [...this.#toasts].find(([, toast]) => toast.contains(key.target as Node));
    if (key.key !== "Escape" || !at) return;
    key.stopPropagation();
    this.#dismiss(at[0]);
  }
}
