// A user's inbox for pages that draw it themselves: a list that keeps itself up to date, and what can be done with it.

import { backoffMs, RETRY_MS } from "./backoff.js";
import type { Client } from "./client.js";
import { covers, type Place } from "./cursor.js";
import { Handlers, type Unsubscribe } from "./handlers.js";
import { type Action, type InboxCounts, type InboxItem, type Mark, type Marked, refreshed, withActions } from "./marks.js";

export type { InboxCounts, InboxItem, Mark } from "./marks.js";

export interface InboxOptions {
  /** How many items a page has; 20 by default, 100 at most. */
  limit?: number;
  /** Only what is unread. */
  unread?: boolean;
  /** Only what has been archived, instead of what has not. */
  archived?: boolean;
  level?: InboxItem["level"];
  topic?: string;
  /** Whether new items wait until `show()`, so that the list does not move under the reader's eyes. */
  hold?: boolean;
}

/** One moment of an inbox; a new object at each change. */
export interface InboxState {
  /** `failed`: it could not be loaded; it is tried again. What was loaded before stays. */
  readonly status: "loading" | "ready" | "failed";
  /** Newest first. */
  readonly items: readonly InboxItem[];
  readonly counts: InboxCounts;
  /** How many new items wait for `show()`. */
  readonly held: number;
  /** Whether `more()` brings older ones. */
  readonly hasMore: boolean;
  /** What went wrong last, for a person; null once something went well. */
  readonly error: string | null;
}

export interface Inbox {
  readonly state: InboxState;
  onChange(handler: (state: InboxState) => void): Unsubscribe;
  /** Calls `handler` with items that were not there before, newest first. */
  onArrival(handler: (items: readonly InboxItem[]) => void): Unsubscribe;
  /** Puts the items that wait on top of the list. */
  show(): void;
  /** Loads a page of older items. */
  more(): Promise<void>;
  /** Loads the list again. */
  reload(): Promise<void>;
  /**
   * Marks these items, or all that there were when the list was loaded. It is to be seen at once, and taken back where
   * the server refuses it: then the answer is false, and `state.error` says why.
   */
  mark(mark: Mark, ids: Iterable<string> | "all"): Promise<boolean>;
  close(): void;
}

// What the server takes at once, of a list and of ids.
const PAGE_MAX = 100;
const IDS_MAX = 200;
const PAGE_ITEMS = 20;
// Of a burst of notifications the first is shown at once, and the rest a moment later together.
const REFRESH_EVERY_MS = 250;
// The list is folded some milliseconds after the event that told of it has come.
const LATE_MS = 50;

interface Page {
  items: InboxItem[];
  next: string | null;
  cursor: string;
}

/** The inbox of the user whose events the client brings. */
export function inbox(client: Client, options: InboxOptions = {}): Inbox {
  return new LiveInbox(client, options);
}

class LiveInbox implements Inbox {
  state: InboxState;
  readonly #changes = new Handlers<[InboxState]>();
  readonly #arrivals = new Handlers<[readonly InboxItem[]]>();
  readonly #unsubscribes: Unsubscribe[];
  readonly #held = new Set<string>();
  #told: Marked = { items: [], counts: { unread: 0, unseen: 0, limit: 99 } };
  #actions: Action[] = [];
  #status: InboxState["status"] = "loading";
  #error: string | null = null;
  #next: string | null = null;
  /** Where the list is as of, and where it has to be as of at least. */
  #place: Place = null;
  #due: Place = null;
  /** Whether the list is to be loaded as if there had been none: what it holds may be of another log. */
  #isOutdated = true;
  /** Where the client was when this began to hear of events: none tells of what was there before. */
  #begun: Place = null;
  #failures = 0;
  #late = 0;
  #isWanted = false;
  #refreshing: Promise<void> | null = null;
  #isClosed = false;

  constructor(
    private readonly client: Client,
    private readonly options: InboxOptions,
  ) {
    this.state = this.#snapshot();
    this.#unsubscribes = [
      client.on("notification.sent", (_event, { cursor }) => void this.#refresh(cursor)),
      client.on("inbox.changed", ({ data }) => this.#changed(data)),
      client.on("reset", () => void this.reload()),
      client.onStatus(() => this.#heed()),
    ];
    this.#heed();
  }

  onChange(handler: (state: InboxState) => void): Unsubscribe {
    return this.#changes.add(handler);
  }

  onArrival(handler: (items: readonly InboxItem[]) => void): Unsubscribe {
    return this.#arrivals.add(handler);
  }

  /** Loads for the first time once it is known who is signed in, and again once they are back. */
  #heed(): void {
    if (isUnsigned(this.client)) this.#begun = null;
    else if (this.#begun === null && this.client.cursor !== null) void this.#refresh((this.#begun = this.client.cursor));
    else if (this.#status !== "ready") void this.#refresh(null);
  }

  show(): void {
    this.#held.clear();
    this.#publish();
  }

  close(): void {
    this.#isClosed = true;
    for (const unsubscribe of this.#unsubscribes) unsubscribe();
  }

  // Loading.

  async more(): Promise<void> {
    const from = this.#next;
    if (from === null) return;
    const page = await this.#ask<Page>(`/v1/inbox?${this.#query(this.#limit, from)}`);
    // Where the list ends elsewhere by now, there would be a gap between the two.
    if (page === null || this.#next !== from) return this.#publish();
    const known = new Set(this.#told.items.map(({ id }) => id));
    const older = page.items.filter(({ id }) => !known.has(id));
    this.#told = { ...this.#told, items: [...this.#told.items, ...older] };
    this.#next = page.next;
    this.#publish();
  }

  reload(): Promise<void> {
    this.#isOutdated = true;
    this.#due = null;
    return this.#refresh(this.client.cursor);
  }

  get #limit(): number {
    return Math.min(PAGE_MAX, this.options.limit ?? PAGE_ITEMS);
  }

  #changed(data: { counts?: InboxCounts; cursor?: string }): void {
    if (data.counts) this.#told = { ...this.#told, counts: data.counts };
    this.#publish();
    void this.#refresh(data.cursor ?? null);
  }

  /** Loads the list, as of `place` at least; what is asked for meanwhile is loaded together afterwards. */
  #refresh(place: Place): Promise<void> {
    this.#mustCover(place);
    this.#isWanted = true;
    this.#refreshing ??= this.#refreshWhileWanted().finally(() => (this.#refreshing = null));
    return this.#refreshing;
  }

  #mustCover(place: Place): void {
    if (place !== null && !covers(this.#due, place)) this.#due = place;
  }

  async #refreshWhileWanted(): Promise<void> {
    for (; this.#isWanted && !this.#isClosed; await this.#pause()) {
      this.#isWanted = false;
      await this.#load();
    }
  }

  /** Between two looks: longer each time that the server did not answer, or has not folded what is due. */
  #pause(): Promise<void> {
    if (!this.#isWanted) return Promise.resolve();
    const [times, base] = this.#failures ? [this.#failures, RETRY_MS] : [this.#late, LATE_MS];
    const ms = times ? backoffMs(times, base, Math.random()) : REFRESH_EVERY_MS;
    return new Promise((resolve) => setTimeout(resolve, ms));
  }

  async #load(): Promise<void> {
    const limit = Math.max(this.#limit, Math.min(PAGE_MAX, this.#told.items.length));
    const [page, counts] = await Promise.all([
      this.#ask<Page>(`/v1/inbox?${this.#query(limit)}`),
      this.#ask<InboxCounts & { cursor: string }>("/v1/inbox/counts"),
    ]);
    if (this.#isClosed) return;
    if (page === null || counts === null) return this.#failed();
    this.#failures = 0;
    const isLate = covers(this.#due, page.cursor) && !covers(page.cursor, this.#due);
    this.#late = isLate ? this.#late + 1 : 0;
    this.#isWanted ||= isLate;
    // Of what is late, the first is better than nothing; later it might take back what was just done.
    if (!isLate || this.#isOutdated) this.#take(page, counts);
  }

  #failed(): void {
    this.#failures++;
    this.#status = "failed";
    // Who is not signed in is not asked again before that has changed.
    this.#isWanted ||= !isUnsigned(this.client);
    this.#publish();
  }

  #take(page: Page, { unread, unseen, limit }: InboxCounts): void {
    const known = new Set(this.#told.items.map(({ id }) => id));
    const arrived = this.#isOutdated ? [] : page.items.filter(({ id }) => !known.has(id));
    const items = refreshed(this.#told.items, page.items, this.#isOutdated || page.next === null);
    if (items.length === page.items.length) this.#next = page.next;
    if (this.options.hold) for (const { id } of arrived) this.#held.add(id);
    this.#told = { items, counts: { unread, unseen, limit } };
    this.#place = page.cursor;
    this.#isOutdated = false;
    this.#status = "ready";
    this.#error = null;
    this.#publish();
    if (arrived.length) this.#arrivals.call(arrived);
  }

  #query(limit: number, cursor?: string): URLSearchParams {
    const { unread, archived, level, topic } = this.options;
    const query = new URLSearchParams({ limit: String(limit) });
    if (cursor !== undefined) query.set("cursor", cursor);
    if (unread) query.set("unread", "1");
    if (archived) query.set("archived", "1");
    if (level) query.set("level", level);
    if (topic) query.set("topic", topic);
    return query;
  }

  // Marking.

  async mark(mark: Mark, ids: Iterable<string> | "all"): Promise<boolean> {
    const action: Action = { mark, ids: ids === "all" ? null : new Set(ids) };
    if (action.ids?.size === 0) return true;
    if (action.ids === null && this.#place === null) return this.#refused("the list is not loaded yet");
    this.#actions.push(action);
    this.#publish();
    const isTaken = await this.#send(action);
    this.#actions = this.#actions.filter((each) => each !== action);
    if (isTaken) this.#error = null;
    else void this.#refresh(null);
    this.#publish();
    return isTaken;
  }

  #refused(why: string): boolean {
    this.#error = why;
    this.#publish();
    return false;
  }

  async #send({ mark, ids }: Action): Promise<boolean> {
    if (ids === null) return this.#post(mark, { through: this.#place }, { mark, ids });
    const all = [...ids];
    for (let at = 0; at < all.length; at += IDS_MAX) {
      const some = all.slice(at, at + IDS_MAX);
      if (!(await this.#post(mark, { ids: some }, { mark, ids: new Set(some) }))) return false;
    }
    return true;
  }

  async #post(mark: Mark, body: object, action: Action): Promise<boolean> {
    const answer = await this.#ask<{ counts: InboxCounts; cursor: string }>(`/v1/inbox/${mark}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    if (answer === null) return false;
    this.#told = { items: withActions(this.#told, [action]).items, counts: answer.counts };
    // A list that was asked for before this, and comes after it, knows nothing of it.
    this.#mustCover(answer.cursor);
    return true;
  }

  // Telling.

  async #ask<Answer>(path: string, init?: RequestInit): Promise<Answer | null> {
    // The cookie may be somebody else's by now.
    if (this.client.status === "expired") this.#error = "nobody is signed in";
    else return this.#answer(path, init);
    return null;
  }

  async #answer<Answer>(path: string, init?: RequestInit): Promise<Answer | null> {
    try {
      const response = await this.client.request(path, init);
      const body = (await response.json()) as Answer & { detail?: string };
      if (response.ok) return body;
      this.#error = body.detail ?? `the server answered ${response.status}`;
    } catch {
      this.#error = "the server does not answer";
    }
    return null;
  }

  #snapshot(): InboxState {
    const { items, counts } = withActions(this.#told, this.#actions);
    const isArchived = this.options.archived ?? false;
    const there = items.filter(({ archived }) => archived === isArchived);
    const shown = there.filter(({ id }) => !this.#held.has(id));
    return {
      status: this.#status,
      items: shown,
      counts,
      // Of those that wait, some may have been read or archived elsewhere meanwhile.
      held: there.length - shown.length,
      hasMore: this.#next !== null,
      error: this.#error,
    };
  }

  #publish(): void {
    if (this.#isClosed) return;
    this.state = this.#snapshot();
    this.#changes.call(this.state);
  }
}

const isUnsigned = ({ status }: Client): boolean => status === "connecting" || status === "expired";
