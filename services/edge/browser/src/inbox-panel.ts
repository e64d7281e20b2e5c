// What opens below the bell: filters, the list, and what is said where there is none.

import { create, icon } from "./elements.js";
import type { Inbox, InboxState } from "./inbox.js";
import { Row, type RowHost } from "./inbox-row.js";
import type { Mark } from "./marks.js";
import { Sight } from "./sight.js";
import type { Status } from "./situation.js";
import type { Words } from "./words.js";

export type Filter = "all" | "unread" | "archived";

/** What a panel asks of the element that it is in. */
export interface PanelHost {
  close(): void;
  choose(filter: Filter): void;
  box(): Inbox | null;
  act(mark: Mark, ids: string[] | "all"): void;
  /** Whether the user can be asked to permit notifications of the system, and asking them. */
  mayAsk(): boolean;
  ask(): void;
}

const FILTERS = ["all", "unread", "archived"] as const;
// The next page is asked for when so much is left below what is in sight.
const AHEAD_PX = 400;

export class InboxPanel {
  readonly element = create("div", { class: "panel", part: "panel", role: "dialog", "aria-labelledby": "title", tabindex: "-1", hidden: "" });
  filter: Filter = "all";
  readonly #title = create("h2", { id: "title", part: "title" });
  readonly #markAll = create("button", { type: "button", class: "quiet", part: "mark-all" });
  readonly #close = create("button", { type: "button", class: "icon close", part: "close" });
  readonly #filters = create("div", { class: "filters", part: "filters", role: "group" });
  readonly #note = create("p", { class: "note", part: "note", hidden: "" });
  readonly #noteText = create("span");
  readonly #retry = create("button", { type: "button", class: "quiet", part: "retry" });
  readonly #scroll = create("div", { class: "scroll", part: "scroll" });
  readonly #fresh = create("button", { type: "button", class: "fresh", part: "fresh", hidden: "" });
  readonly #list = create("ul", { part: "list", role: "list", "aria-labelledby": "title" });
  readonly #state = create("div", { class: "state", part: "state", hidden: "" });
  readonly #empty = create("slot", { name: "empty" });
  readonly #older = create("button", { type: "button", class: "older", part: "older", hidden: "" });
  readonly #permit = create("button", { type: "button", class: "older", part: "permit", hidden: "" });
  readonly #rows = new Map<string, Row>();
  readonly #sight: Sight;
  #isAsking = false;

  constructor(
    private readonly rowHost: RowHost,
    private readonly host: PanelHost,
  ) {
    const header = create("header", { part: "header" });
    this.#close.append(icon("close"));
    header.append(this.#title, this.#markAll, this.#close);
    this.#note.append(this.#noteText, this.#retry);
    this.#scroll.append(this.#fresh, this.#list, this.#state, this.#older);
    this.element.append(header, this.#filters, this.#note, this.#scroll, this.#permit);
    for (const filter of FILTERS) this.#filters.append(this.#filterButton(filter));
    this.#sight = new Sight(this.#scroll, (rows) => this.#seen(rows));
    this.#close.addEventListener("click", () => host.close());
    this.#markAll.addEventListener("click", () => host.act("read", "all"));
    this.#retry.addEventListener("click", () => void host.box()?.reload());
    this.#fresh.addEventListener("click", () => this.#showFresh());
    this.#older.addEventListener("click", () => void this.#more());
    this.#permit.addEventListener("click", () => host.ask());
    this.#scroll.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.rename();
  }

  get #words(): Words {
    return this.rowHost.words;
  }

  focus(): void {
    this.element.focus({ preventScroll: true });
  }

  /** Whether somebody is at it, so that it must hold still. */
  get isInUse(): boolean {
    return this.#scroll.scrollTop > 0 || this.element.matches(":hover, :focus-within");
  }

  /** Says all in the words of now. */
  rename(): void {
    const words = this.#words;
    this.#title.textContent = words.title;
    this.#markAll.textContent = words.markAll;
    this.#retry.textContent = words.retry;
    this.#older.textContent = words.older;
    this.#permit.textContent = words.permit;
    this.#close.setAttribute("aria-label", words.close);
    this.#filters.setAttribute("aria-label", words.filter);
    FILTERS.forEach((filter, at) => (this.#filters.children[at]!.textContent = words[filter]));
    this.#clear();
  }

  draw(state: InboxState | null, status: Status, unread: number): void {
    this.#drawRows(state);
    const isThere = state !== null && state.items.length > 0;
    this.#markAll.disabled = unread === 0 || this.filter === "archived" || state === null;
    this.#fresh.hidden = !state?.held;
    this.#fresh.textContent = this.#words.fresh(state?.held ?? 0);
    this.#older.hidden = !state?.hasMore || !isThere;
    this.#permit.hidden = status === "expired" || !this.host.mayAsk();
    this.#filters.hidden = status === "expired";
    this.#drawNote(state, status);
    this.#state.hidden = isThere;
    if (!isThere) this.#drawState(state, status);
  }

  tick(): void {
    for (const row of this.#rows.values()) row.tick(Date.now());
  }

  /** Arrows, Home and End go through the list; true where the key was one of these. */
  walk({ key }: KeyboardEvent): boolean {
    if (this.element.hidden || !["ArrowDown", "ArrowUp", "Home", "End"].includes(key)) return false;
    const items = [...this.#list.children] as HTMLElement[];
    const root = this.element.getRootNode() as ShadowRoot;
    const at = items.findIndex((each) => each.contains(root.activeElement));
    if (at < 0 && key !== "ArrowDown") return false;
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[key]!;
    const main = items[Math.max(0, Math.min(items.length - 1, next))]?.querySelector<HTMLElement>(".main");
    main?.focus();
    return main !== undefined;
  }

  #filterButton(filter: Filter): HTMLButtonElement {
    const button = create("button", { type: "button", part: "filter", "aria-pressed": String(filter === this.filter) });
    button.addEventListener("click", () => this.#choose(filter));
    return button;
  }

  #choose(filter: Filter): void {
    this.filter = filter;
    FILTERS.forEach((each, at) => this.#filters.children[at]!.setAttribute("aria-pressed", String(each === filter)));
    this.#clear();
    this.#scroll.scrollTop = 0;
    this.host.choose(filter);
  }

  #showFresh(): void {
    this.host.box()?.show();
    this.#scroll.scrollTop = 0;
    this.#list.querySelector<HTMLElement>(".main")?.focus();
  }

  // The list.

  #clear(): void {
    for (const row of this.#rows.values()) this.#sight.forget(row.element);
    this.#rows.clear();
    this.#list.replaceChildren();
  }

  #drawRows(state: InboxState | null): void {
    const items = state?.items ?? [];
    const wanted = new Set(items.map(({ id }) => id));
    this.#remove([...this.#rows.keys()].filter((id) => !wanted.has(id)));
    let at = this.#list.firstElementChild;
    for (const item of items) {
      const row = this.#rows.get(item.id) ?? this.#added(item.id);
      row.show(item);
      if (row.element === at) at = at.nextElementSibling;
      else this.#list.insertBefore(row.element, at);
      if (!item.seen) this.#sight.watch(row.element);
    }
  }

  #added(id: string): Row {
    const row = new Row(this.rowHost);
    this.#rows.set(id, row);
    return row;
  }

  /** The focus goes on to what takes the place of what had it. */
  #remove(ids: string[]): void {
    const root = this.element.getRootNode() as ShadowRoot | Document;
    const gone = new Set(ids.map((id) => this.#rows.get(id)!.element));
    const held = [...gone].find((element) => element.contains(root.activeElement));
    let next: Element | null = held ?? null;
    while (next && gone.has(next as HTMLLIElement)) next = next.nextElementSibling;
    const after = next ?? [...this.#list.children].reverse().find((each) => !gone.has(each as HTMLLIElement));
    for (const element of gone) this.#sight.forget(element);
    for (const id of ids) this.#rows.delete(id);
    gone.forEach((element) => element.remove());
    if (held) (after?.querySelector<HTMLElement>(".main") ?? this.element).focus();
  }

  #seen(elements: Element[]): void {
    const rows = [...this.#rows.values()].filter((row) => elements.includes(row.element));
    const ids = rows.filter(({ item }) => !item.seen).map(({ item }) => item.id);
    if (ids.length) this.host.act("seen", ids);
  }

  #scrolled(): void {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroll;
    if (!this.#older.hidden && scrollHeight - scrollTop - clientHeight < AHEAD_PX) void this.#more();
  }

  async #more(): Promise<void> {
    if (this.#isAsking) return;
    this.#isAsking = true;
    await this.host.box()?.more();
    this.#isAsking = false;
  }

  // What is said about it.

  #drawNote(state: InboxState | null, status: Status): void {
    const isOffline = status === "offline" || status === "stopped";
    const error = state !== null && state.error !== null ? `${this.#words.failed}: ${state.error}` : null;
    const text = status === "expired" || state === null ? null : isOffline ? this.#words.offline : error;
    this.#note.hidden = text === null;
    this.#noteText.textContent = text ?? "";
    this.#retry.hidden = isOffline;
  }

  #drawState(state: InboxState | null, status: Status): void {
    const { expired, loading, failed, empty, emptyUnread, emptyArchived } = this.#words;
    const isEmpty = state?.status === "ready";
    const nothing = { all: empty, unread: emptyUnread, archived: emptyArchived }[this.filter];
    const text = status === "expired" ? expired : isEmpty ? nothing : state?.status === "failed" ? failed : loading;
    const drawn = [icon(isEmpty ? "success" : "bell"), create("span", {}, text)];
    this.#empty.replaceChildren(...drawn);
    this.#state.setAttribute("aria-busy", String(text === loading));
    this.#state.replaceChildren(...(isEmpty ? [this.#empty] : drawn));
  }
}
