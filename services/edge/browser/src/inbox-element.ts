// <carillon-inbox>: a bell with a count, and behind it the user's notifications. Loading this module defines it.

import { type Client, connect } from "./client.js";
import type { Unsubscribe } from "./handlers.js";
import { type Inbox, type InboxItem, type InboxState, inbox, type Mark } from "./inbox.js";
import { type Filter, InboxPanel } from "./inbox-panel.js";
import * as desktop from "./desktop.js";
import { create, icon } from "./elements.js";
import { isElsewhere, type RowHost } from "./inbox-row.js";
import { STYLE } from "./inbox-style.js";
import { Toasts } from "./toasts.js";
import { ENGLISH, safeLink, shownCount, type Words } from "./words.js";

export type { Words } from "./words.js";

const NAME = "carillon-inbox";
// Relative times are told by the minute.
const RETELL_MS = 30_000;

export class CarillonInbox extends HTMLElement implements RowHost {
  static readonly observedAttributes = ["open", "inline", "desktop"];

  words: Words = ENGLISH;
  readonly #badge = create("span", { class: "count", part: "count", "aria-hidden": "true", hidden: "" });
  readonly #bell = create("button", { type: "button", class: "bell", part: "bell", "aria-haspopup": "dialog", "aria-expanded": "false" });
  readonly #said = create("div", { class: "hush", role: "status" });
  readonly #panel: InboxPanel;
  readonly #toasts = new Toasts(this, () => this.#bell.focus());
  #desktop: desktop.Desktop | null = null;
  #client: Client | null = null;
  /** A client that the element has opened itself, and closes. */
  #own: Client | null = null;
  /** All that is not archived: for the count, and for what is said. */
  #box: Inbox | null = null;
  /** What the panel shows, where that is something else. */
  #shown: Inbox | null = null;
  #ends: Unsubscribe[] = [];
  #ticking: ReturnType<typeof setInterval> | undefined;

  constructor() {
    super();
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [sheet];
    const drawn = create("slot", { name: "bell" });
    drawn.append(icon("bell"));
    this.#bell.append(drawn, this.#badge);
    this.#panel = new InboxPanel(this, {
      close: () => this.hide(),
      choose: (filter) => this.#choose(filter),
      box: () => this.#current,
      act: (mark, ids) => void this.#act(mark, ids),
      mayAsk: () => this.hasAttribute("desktop") && desktop.mayAsk(),
      ask: () => void desktop.ask().then(() => this.#draw()),
    });
    root.append(this.#bell, this.#panel.element, this.#toasts.element, this.#said);
    this.#bell.addEventListener("click", () => (this.open ? this.hide() : this.show()));
    this.addEventListener("keydown", (key) => this.#pressed(key));
  }

  /** The client whose inbox it is. Without one the element connects by itself, to `url` or the page's own origin. */
  get client(): Client | null {
    return this.#client;
  }

  set client(client: Client | null) {
    this.#stop();
    this.#client = client;
    if (this.isConnected) this.#begin();
  }

  /** What is said in other words than English; those not given stay. */
  set strings(words: Partial<Words>) {
    this.words = { ...ENGLISH, ...words };
    this.#panel.rename();
    this.#draw();
  }

  get open(): boolean {
    return this.hasAttribute("open");
  }

  get #isInline(): boolean {
    return this.hasAttribute("inline");
  }

  get template(): HTMLTemplateElement | null {
    return this.querySelector<HTMLTemplateElement>('template[slot="item"]');
  }

  get locale(): string | undefined {
    return this.closest<HTMLElement>("[lang]")?.lang;
  }

  show(): void {
    this.toggleAttribute("open", true);
  }

  hide(): void {
    this.toggleAttribute("open", false);
  }

  mark(mark: Mark, { id }: InboxItem): void {
    void this.#act(mark, [id]);
  }

  opened(item: InboxItem): boolean {
    return this.dispatchEvent(new CustomEvent("carillon-open", { detail: { item }, bubbles: true, composed: true, cancelable: true }));
  }

  connectedCallback(): void {
    document.addEventListener("pointerdown", this.#pressedElsewhere);
    this.#ticking = setInterval(() => this.#panel.tick(), RETELL_MS);
    // A page that gives a client does so in the same breath.
    queueMicrotask(() => this.isConnected && !this.#box && this.#begin());
    this.#arrange();
  }

  disconnectedCallback(): void {
    document.removeEventListener("pointerdown", this.#pressedElsewhere);
    clearInterval(this.#ticking);
    this.#stop();
    this.#arrange();
  }

  attributeChangedCallback(name: string, before: string | null, now: string | null): void {
    if ((before === null) === (now === null)) return;
    if (name === "open") this.#toggled(now !== null);
    else this.#arrange();
  }

  /** As a bell with a panel or a part of the page; with an eye on whether the page is in sight, or not. */
  #arrange(): void {
    this.#desktop?.close();
    const isTelling = this.isConnected && this.hasAttribute("desktop");
    this.#desktop = isTelling ? new desktop.Desktop((item) => this.#chosen(item)) : null;
    this.#panel.element.setAttribute("role", this.#isInline ? "region" : "dialog");
    this.#draw();
  }

  // Whose inbox.

  #begin(): void {
    this.#stop();
    const url = this.getAttribute("url");
    const client = (this.#client ??= this.#own = connect(url ? { url } : {}));
    this.#ends.push(client.onStatus(() => this.#heed()));
    this.#heed();
  }

  #stop(): void {
    for (const end of this.#ends.splice(0)) end();
    this.#drop();
    if (this.#own === null) return;
    this.#own.close();
    this.#own = this.#client = null;
  }

  /** Who is signed out sees nothing of what was there, nor does who comes after them. */
  #heed(): void {
    const isOut = this.#client?.status === "expired";
    if (isOut) this.#drop();
    else if (!this.#box) this.#load();
    this.#draw();
  }

  #load(): void {
    this.#box = this.#opening({});
    this.#box.onArrival((items) => this.#arrived(items));
    if (this.#panel.filter !== "all") this.#choose(this.#panel.filter);
  }

  #drop(): void {
    this.#box?.close();
    this.#shown?.close();
    this.#box = this.#shown = null;
    this.#toasts.clear();
  }

  #opening(options: { unread?: boolean; archived?: boolean }): Inbox {
    const box = inbox(this.#client!, { ...options, hold: !options.archived });
    // A list without anything in it is not shifted.
    box.onChange(({ held, items }) => (held && !items.length ? box.show() : this.#draw()));
    return box;
  }

  get #current(): Inbox | null {
    return this.#shown ?? this.#box;
  }

  #choose(filter: Filter): void {
    this.#shown?.close();
    this.#shown = filter === "all" || !this.#box ? null : this.#opening({ [filter]: true });
    this.#current?.show();
    this.#draw();
  }

  // What happens.

  async #act(mark: Mark, ids: string[] | "all"): Promise<void> {
    const box = this.#current;
    if (!box || (await box.mark(mark, ids)) || mark === "seen") return;
    this.#say(`${this.words.failed}: ${box.state.error ?? ""}`);
    this.dispatchEvent(new CustomEvent("carillon-refused", { detail: { mark, ids, error: box.state.error }, bubbles: true, composed: true }));
  }

  #arrived(items: readonly InboxItem[]): void {
    if (!this.open && !(this.#isInline && this.#panel.isInUse)) this.#box?.show();
    this.#say(this.words.arrived(items.length, items[0]!.title));
    const unread = items.filter(({ read, archived }) => !read && !archived);
    if (this.hasAttribute("toasts") && !this.open && !document.hidden) this.#toasts.show(unread);
    void this.#desktop?.tell(unread);
    this.dispatchEvent(new CustomEvent("carillon-arrival", { detail: { items }, bubbles: true, composed: true }));
  }

  /** A notification of the system was clicked. */
  #chosen(item: InboxItem): void {
    const href = safeLink(item.link, document.baseURI);
    this.mark("read", item);
    if (!this.opened(item) || href === null) return;
    if (isElsewhere(href)) open(href, "_blank", "noopener,noreferrer");
    else location.assign(href);
  }

  #say(text: string): void {
    this.#said.textContent = text;
  }

  #toggled(isOpen: boolean): void {
    this.#bell.setAttribute("aria-expanded", String(isOpen));
    const hasFocus = this.shadowRoot!.activeElement !== null;
    this.#current?.show();
    this.#draw();
    if (isOpen) this.#panel.focus();
    else if (hasFocus) this.#bell.focus();
    this.dispatchEvent(new CustomEvent("carillon-toggle", { detail: { open: isOpen }, bubbles: true, composed: true }));
  }

  #pressed(key: KeyboardEvent): void {
    if (key.key === "Escape" && this.open) {
      key.stopPropagation();
      this.hide();
    } else if (this.#panel.walk(key)) key.preventDefault();
  }

  readonly #pressedElsewhere = (press: PointerEvent): void => {
    if (this.open && !press.composedPath().includes(this)) this.hide();
  };

  #draw(): void {
    const { counts, items = [] } = this.#box?.state ?? {};
    this.#toasts.keep((id) => !items.some((item) => item.id === id && item.read));
    const count = counts?.unread ? shownCount(counts.unread, counts.limit) : null;
    this.#badge.hidden = count === null;
    this.#badge.textContent = count ?? "";
    this.#bell.setAttribute("aria-label", count === null ? this.words.bellNone : this.words.bell(count));
    const isShown = this.open || this.#isInline;
    this.#panel.element.hidden = !isShown;
    if (isShown) this.#panel.draw(this.#current?.state ?? null, this.#client?.status ?? "connecting", counts?.unread ?? 0);
  }
}

export type { Inbox, InboxItem, InboxState };

if (!customElements.get(NAME)) customElements.define(NAME, CarillonInbox);

declare global {
  interface HTMLElementTagNameMap {
    [NAME]: CarillonInbox;
  }
}
