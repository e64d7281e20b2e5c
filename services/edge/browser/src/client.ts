// One client of a page: puts the pure machines (tab.ts, connection.ts) together with the browser.

import type { Input } from "./connection.js";
import type { Place } from "./cursor.js";
import { type CarillonEvent, type Delivery, eventOf, signalOf } from "./event.js";
import { canShare, Group } from "./group.js";
import { Handlers, matcher, type Unsubscribe } from "./handlers.js";
import { read } from "./reader.js";
import { Receipts } from "./receipts.js";
import { ask, type TokenSource } from "./session.js";
import type { Situation, Status } from "./situation.js";
import { Subject, type SubjectStream } from "./stream.js";
import { keptPlace, keepPlace } from "./storage.js";
import { Tab, type TabEffect, type TabInput } from "./tab.js";
import { listen } from "./wake.js";

export type EventHandler<Data = any> = (event: CarillonEvent<Data>, delivery: Delivery) => void;

export interface Options {
  /** Where the edge is; the page's own origin by default. */
  url?: string;
  /** Only these types; `*` stands for any text. */
  types?: readonly string[];
  /** Only these of the topics granted. Tabs with the same topics share a connection. */
  topics?: readonly string[];
  /** Where to begin: `now` (default), `earliest`, or a cursor. */
  from?: string;
  /** Whether a reload goes on where the page was (in sessionStorage); a string tells two clients of one page apart. */
  keep?: boolean | string;
  /** False for a connection of this tab's own. */
  share?: boolean;
  /** Asked for a bearer token when nobody is signed in: it is exchanged for a session. */
  token?: TokenSource;
  /** Instead of the browser's. */
  fetch?: typeof globalThis.fetch;
}

export interface Client {
  /**
   * Calls `handler` with each event of the type, until the function returned is called. In a type `*` stands for any
   * text; `*` alone is every event. Frames that are no events come by their own names only: `reset`,
   * `session-expiring`, `inbox.changed`.
   */
  on<Data = any>(type: string, handler: EventHandler<Data>): Unsubscribe;
  /** Calls `handler` whenever the situation changes. */
  onStatus(handler: (situation: Situation) => void): Unsubscribe;
  readonly status: Status;
  readonly situation: Situation;
  /** Everything at or below it has been handed to the handlers. Null until a first stream has begun. */
  readonly cursor: string | null;
  /** Whose events these are; null until that is known. */
  readonly user: string | null;
  /** Whether this tab has the connection that others share, uses theirs, has one of its own, or none now. */
  readonly sharing: "leader" | "follower" | "alone" | "none";
  /** Tries again now, whatever the status is. */
  reconnect(): void;
  /** For good. */
  close(): void;
  /** The stream of a subject, such as `job/123`: its state, and each change of it until it ends. */
  stream<State = any>(subject: string): SubjectStream<State>;
  /** `fetch` of an address of the edge, with the session's cookie. */
  request(path: string, init?: RequestInit): Promise<Response>;
}

// Tabs with another version's protocol must not meet.
const PROTOCOL = "carillon1";
// How much later than due silence is noticed, and how long a stream must last to count as a success.
const TICK_MS = 2_000;
// Of requests that are no streams. Their server gives up a backend long before.
const REQUEST_WITHIN_MS = 30_000;

type Timer = Extract<TabEffect, { do: "wait" }>["timer"];

/** Opens the stream of the user who is signed in. Never throws; the status tells what is going on. */
export function connect(options: Options = {}): Client {
  return new TabClient(options);
}

class TabClient implements Client {
  situation: Situation = { status: "connecting" };
  cursor: string | null = null;
  readonly #options: Options;
  readonly #fetch: typeof globalThis.fetch;
  readonly #base: string;
  readonly #name: string;
  readonly #tab: Tab;
  readonly #handlers = new Handlers<[isEvent: boolean, event: CarillonEvent, delivery: Delivery]>();
  readonly #wants: (type: string) => boolean;
  readonly #statusHandlers = new Handlers<[Situation]>();
  readonly #receipts = new Receipts((path, init) => this.request(path, init));
  readonly #timers = new Map<string, ReturnType<typeof setTimeout>>();
  readonly #lobby: BroadcastChannel | undefined;
  readonly #unlisten: Unsubscribe;
  #inputs: TabInput[] = [];
  #asks = 0;
  #isTaking = false;
  #isClosed = false;
  #group: Group | undefined;
  #cancel: Unsubscribe = () => undefined;
  #ticking: ReturnType<typeof setInterval> | undefined;

  constructor(options: Options) {
    this.#options = options;
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init));
    this.#base = (options.url ?? globalThis.location?.origin ?? "").replace(/\/$/, "");
    const topics = [...(options.topics ?? [])].sort().join(",");
    this.#name = [PROTOCOL, this.#base, topics].join(" ");
    const shares = options.share !== false && canShare();
    const id = crypto.getRandomValues(new Uint32Array(2)).join("-");
    const wanted = options.types?.map(matcher);
    this.#wants = (type) => wanted?.some((is) => is(type)) ?? true;
    const first = options.from === "now" ? null : (options.from ?? null);
    this.#tab = new Tab(id, shares, (options.keep ? keptPlace(this.#storageKey) : null) ?? first, Math.random);
    if (shares) this.#lobby = this.#openLobby();
    else if (options.share !== false) {
      console.info("carillon: without Web Locks (https) tabs cannot share a connection; this one has its own");
    }
    this.#unlisten = listen({
      woken: () => this.#woken(),
      lost: () => this.#take({ is: "edge", input: { is: "lost" } }),
      hidden: () => this.#take({ is: "leave" }),
      restored: () => this.#start(true),
    });
    // After the handlers that the page adds now.
    queueMicrotask(() => this.#start(true));
  }

  get status(): Status {
    return this.situation.status;
  }

  get user(): string | null {
    return this.#tab.connection.user;
  }

  get sharing(): Client["sharing"] {
    return this.#tab.role;
  }

  on<Data = any>(type: string, handler: EventHandler<Data>): Unsubscribe {
    const is = matcher(type);
    return this.#handlers.add((isEvent, event, delivery) => {
      const { type: found } = event;
      if (isEvent ? is(found) && this.#wants(found) : found === type) handler(event, delivery);
    });
  }

  onStatus(handler: (situation: Situation) => void): Unsubscribe {
    return this.#statusHandlers.add(handler);
  }

  reconnect(): void {
    this.#take({ is: "leave" });
    this.#start(true);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#take({ is: "leave" });
    this.#isClosed = true;
    this.#unlisten();
    this.#lobby?.close();
    this.#timers.forEach((timer) => clearTimeout(timer));
    this.#show({ status: "stopped", reason: "closed" });
  }

  stream<State = any>(subject: string): SubjectStream<State> {
    return new Subject(subject, {
      // Also of types that the page has not asked for.
      onEvent: (handler) => this.#handlers.add((isEvent, event, { cursor }) => isEvent && handler(event, cursor!)),
      onReset: (handler) => this.on("reset", handler),
      onStatus: (handler) => this.onStatus(handler),
      situation: () => this.situation,
      request: (path) => this.request(this.#narrowed(path)),
    });
  }

  // Async, so that a `fetch` of the page's that throws is a request that failed, too.
  async request(path: string, init?: RequestInit): Promise<Response> {
    const signal = init?.signal ?? AbortSignal.timeout(REQUEST_WITHIN_MS);
    return this.#fetch(this.#base + path, { cache: "no-store", credentials: "include", ...init, signal });
  }

  // What happens, one after the other, also where a handler makes it happen.

  #start(withToken: boolean): void {
    this.#take({ is: "start", withToken });
  }

  #woken(): void {
    // Signed out in this browser, and perhaps in again: the cookie tells. The app's token is not asked for that.
    if (this.status === "expired") this.#start(false);
    else this.#take({ is: "woken", now: Date.now() });
  }

  #take(input: TabInput): void {
    if (this.#isClosed) return;
    this.#inputs.push(input);
    if (this.#isTaking) return;
    this.#isTaking = true;
    for (let next = this.#inputs.shift(); next; next = this.#inputs.shift()) {
      for (const effect of this.#tab.take(next)) this.#do(effect);
    }
    this.#isTaking = false;
  }

  #do(effect: TabEffect): void {
    switch (effect.do) {
      case "ask":
        return this.#ask(effect.withToken);
      case "open":
        return this.#open(effect.cursor);
      case "cancel":
        clearInterval(this.#ticking);
        return this.#cancel();
      case "wait":
        return this.#wait(effect.timer, effect.ms);
      case "join":
        return this.#join(effect.user);
      case "leave":
        this.#group?.leave();
        this.#group = undefined;
        return;
      case "post":
        return this.#group?.post(effect.message);
      case "depose":
        return this.#group?.depose();
      case "show":
        return this.#show(effect.situation);
      case "signal":
        return this.#hand(false, signalOf(effect.name, effect.data));
      case "reset":
        return this.#hand(false, signalOf("reset", effect.data), effect.cursor);
      case "deliver":
        return this.#hand(true, eventOf(effect.name, effect.data), effect.cursor);
      case "moved":
        return this.#moved(effect.cursor);
    }
  }

  // Of what comes after a handler has closed the client, its page hears nothing.

  #hand(isEvent: boolean, event: CarillonEvent, cursor: string | null = null): void {
    if (this.#isClosed) return;
    if (cursor !== null) this.cursor = cursor;
    this.#handlers.call(isEvent, event, { cursor });
    if (cursor === null) return;
    this.#moved(cursor);
    // The leader's word is the browser's.
    if (isEvent && this.#tab.role !== "follower") this.#receipts.note(event, cursor);
  }

  #moved(cursor: string): void {
    if (this.#isClosed) return;
    this.cursor = cursor;
    if (this.#options.keep) keepPlace(this.#storageKey, cursor);
  }

  #show(situation: Situation): void {
    if (this.situation.reason === "closed") return;
    this.situation = situation;
    this.#statusHandlers.call(situation);
  }

  // The browser's side of it.

  #ask(withToken: boolean): void {
    const number = ++this.#asks;
    void ask((path, init) => this.request(path, init), withToken ? this.#options.token : undefined).then((input) => {
      // An older answer knows less: somebody may have signed in since.
      if (number === this.#asks) this.#take({ is: "edge", input });
    });
  }

  #open(cursor: Place): void {
    const tell = (input: Input): void => this.#take({ is: "edge", input });
    this.#cancel = read((path, init) => this.request(path, init), this.#path, cursor, tell);
    this.#ticking = setInterval(() => tell({ is: "tick", now: Date.now() }), TICK_MS);
  }

  #wait(timer: Timer, ms: number): void {
    clearTimeout(this.#timers.get(timer));
    if (this.#isClosed) return;
    const isOfTab = timer === "answer" || timer === "probe";
    const due = (): void => this.#take(isOfTab ? { is: timer } : { is: "edge", input: { is: timer } });
    this.#timers.set(timer, setTimeout(due, ms));
  }

  #join(user: string): void {
    this.#lobby?.postMessage(user);
    this.#group ??= new Group(`${this.#name} ${user}`, {
      elected: () => this.#take({ is: "elected" }),
      deposed: () => this.#take({ is: "deposed" }),
      message: (message) => this.#take({ is: "message", message, now: Date.now() }),
    });
  }

  /** Where the tabs of all users of this browser tell who has signed in. */
  #openLobby(): BroadcastChannel {
    const lobby = new BroadcastChannel(`${PROTOCOL} ${this.#base}`);
    lobby.onmessage = ({ data }: MessageEvent<string>) => {
      if (this.user === null) return;
      if (data !== this.user && this.#group) this.#take({ is: "edge", input: { is: "replaced" } });
      // Also while it is being asked: that answer may be from before.
      else if (data === this.user && !this.#group && ["expired", "connecting"].includes(this.status)) this.#start(false);
    };
    return lobby;
  }

  get #path(): string {
    const { types } = this.#options;
    // What others in this browser want is not known here: a shared connection brings all types.
    return this.#narrowed("/v1/events", types && this.#tab.role === "alone" ? { types: types.join(",") } : {});
  }

  #narrowed(path: string, more: Record<string, string> = {}): string {
    const { topics } = this.#options;
    const query = new URLSearchParams({ ...(topics && { topics: topics.join(",") }), ...more }).toString();
    return query ? `${path}?${query}` : path;
  }

  get #storageKey(): string {
    return `${this.#name} ${this.#options.keep}`;
  }
}
