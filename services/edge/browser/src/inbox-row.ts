// One notification in the list of the inbox element. Whatever it says is text, never markup.

import { create, icon } from "./elements.js";
import type { InboxItem, Mark } from "./marks.js";
import { fullTime, relativeTime, safeLink, type Words } from "./words.js";

/** What a row asks of the element that it is in. */
export interface RowHost {
  readonly words: Words;
  readonly locale: string | undefined;
  /** The page's own drawing of an item: what has `data-text="title"` is given that text. */
  readonly template: HTMLTemplateElement | null;
  mark(mark: Mark, item: InboxItem): void;
  /** The user has chosen it; false where the page does not want the link to be followed. */
  opened(item: InboxItem): boolean;
}

/** How an item is drawn: what is chosen, and in it the time, unless the page draws it itself. */
export interface Drawn {
  readonly main: HTMLElement;
  readonly time: HTMLElement | null;
}

const LEVELS = ["info", "success", "warning", "error"] as const;

export class Row {
  readonly element = create("li", { part: "item" });
  #item: InboxItem | null = null;
  #time: HTMLElement | null = null;

  constructor(private readonly host: RowHost) {}

  get item(): InboxItem {
    return this.#item!;
  }

  /** What has the focus where the list is walked through by keys. */
  get main(): HTMLElement {
    return this.element.querySelector<HTMLElement>(".main")!;
  }

  /** Draws it where it is new or another; the focus stays on the same control. */
  show(item: InboxItem): void {
    const before = this.#item;
    this.#item = item;
    if (before && isSame(before, item)) return;
    const focused = this.#focused();
    this.element.dataset.level = levelOf(item);
    this.element.toggleAttribute("data-unread", !item.read);
    this.element.setAttribute("part", item.read ? "item" : "item item-unread");
    const { main, time } = drawn(item, this.host);
    this.#time = time;
    this.element.replaceChildren(main, this.#actions(item));
    if (focused) this.element.querySelector<HTMLElement>(`.${focused}`)?.focus();
  }

  /** As time goes by. */
  tick(now: number): void {
    if (this.#time) this.#time.textContent = relativeTime(this.item.time, now, this.host.locale);
  }

  #focused(): string | null {
    const root = this.element.getRootNode() as ShadowRoot | Document;
    const active = root.activeElement;
    return active && this.element.contains(active) ? (["main", "toggle", "archive"].find((name) => active.classList.contains(name)) ?? null) : null;
  }

  #actions(item: InboxItem): HTMLElement {
    const { words } = this.host;
    const actions = create("div", { class: "actions", part: "item-actions" });
    const toggle = this.#action("toggle", item.read ? words.markUnread(item.title) : words.read(item.title), item.read ? "unread" : "read");
    const archive = this.#action("archive", item.archived ? words.unarchive(item.title) : words.archive(item.title), item.archived ? "unarchive" : "archive");
    archive.append(icon(item.archived ? "unarchive" : "archive"));
    actions.append(toggle, archive);
    return actions;
  }

  #action(name: string, label: string, mark: Mark): HTMLButtonElement {
    const button = create("button", { type: "button", class: `icon ${name}`, part: "item-action", "aria-label": label, title: label.split(":")[0]! });
    button.addEventListener("click", () => this.host.mark(mark, this.item));
    return button;
  }
}

/** Draws an item; chosen, it is opened, and read. */
export function drawn(item: InboxItem, host: RowHost): Drawn {
  const href = safeLink(item.link, document.baseURI);
  const main = href === null ? create("button", { type: "button" }) : create("a", { href });
  main.className = "main";
  main.part.add("item-main");
  if (href !== null && isElsewhere(href)) {
    main.setAttribute("target", "_blank");
    main.setAttribute("rel", "noopener noreferrer");
  }
  const { content, time } = contentOf(item, host);
  main.append(...content);
  main.addEventListener("click", (click) => {
    if (!host.opened(item)) click.preventDefault();
    if (!item.read) host.mark("read", item);
  });
  return { main, time };
}

export const isElsewhere = (href: string): boolean => new URL(href).origin !== location.origin;

function contentOf(item: InboxItem, { template, words, locale }: RowHost): { content: Node[]; time: HTMLElement | null } {
  if (template) return { content: [filled(template, item)], time: null };
  const level = levelOf(item);
  const name = create("span", { class: "name", part: "item-title", dir: "auto" }, item.title);
  const state = create("span", { class: "hush" }, [words.levels[level], item.read ? "" : words.unreadItem].filter(Boolean).join(", "));
  const sign = create("span", { class: "level", part: "item-level" });
  sign.append(icon(level), state);
  const body = item.body ? [create("span", { class: "body", part: "item-body", dir: "auto" }, item.body)] : [];
  const time = create("time", { class: "when", part: "item-time", datetime: item.time, title: fullTime(item.time, locale) }, relativeTime(item.time, Date.now(), locale));
  return { content: [sign, name, ...body, time], time };
}

function isSame(one: InboxItem, other: InboxItem): boolean {
  return JSON.stringify({ ...one, seen: null }) === JSON.stringify({ ...other, seen: null });
}

function levelOf({ level }: InboxItem): (typeof LEVELS)[number] {
  return LEVELS.includes(level) ? level : "info";
}

function filled(template: HTMLTemplateElement, item: InboxItem): DocumentFragment {
  const drawn = document.importNode(template.content, true);
  for (const place of drawn.querySelectorAll<HTMLElement>("[data-text]")) {
    const text = item[place.dataset.text!];
    place.textContent = text === null || text === undefined ? "" : String(text);
  }
  return drawn;
}
