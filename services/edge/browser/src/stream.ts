// One stream by its subject: its state, and each change of it until it ends. It needs no connection of its own: the
// client's brings its events, and one request their sum.

import { backoffMs, RETRY_MS } from "./backoff.js";
import { covers, type Place } from "./cursor.js";
import type { CarillonEvent } from "./event.js";
import { type StreamState, unbegun, withEvent } from "./fold.js";
import { Handlers, type Unsubscribe } from "./handlers.js";
import type { Situation } from "./situation.js";

export interface StreamUpdate<State = any> {
  readonly stream: StreamState<State>;
  /** What has changed it; undefined for the state that was found at first, and after a gap. */
  readonly event?: CarillonEvent;
}

export interface SubjectStream<State = any> extends AsyncIterable<StreamUpdate<State>> {
  /** As of the last update; null before the first. */
  readonly current: StreamState<State> | null;
  /** Why it ended before its stream did, for a person. */
  readonly error: string | null;
  /** Calls `handler` at each update: first with the state that was found, then with each event. */
  onUpdate(handler: (update: StreamUpdate<State>) => void): Unsubscribe;
  /** Calls `handler` once, when there will be no more updates. */
  onEnd(handler: (stream: StreamState<State> | null) => void): Unsubscribe;
  close(): void;
}

/** What a stream needs of its client. */
export interface Source {
  onEvent(handler: (event: CarillonEvent, cursor: string) => void): Unsubscribe;
  onReset(handler: () => void): Unsubscribe;
  onStatus(handler: (situation: Situation) => void): Unsubscribe;
  situation(): Situation;
  /** Asks for the stream as it is made of the events that the client brings. */
  request(path: string): Promise<Response>;
}

// Who reads slower than this gets the newest: each update has the whole state.
const WAITING_UPDATES = 1000;

export class Subject implements SubjectStream {
  current: StreamState | null = null;
  error: string | null = null;
  readonly #path: string;
  readonly #updates = new Handlers<[StreamUpdate]>();
  readonly #ends = new Handlers<[StreamState | null]>();
  readonly #unsubscribes: Unsubscribe[];
  /** Everything at or below is in `current`. */
  #place: Place = null;
  /** What has come since the state was asked for. */
  #early: [CarillonEvent, string][] | null = [];
  #failures = 0;
  #isWaiting = false;
  /** Whether times in the state are those of arrival, because events told none. */
  #isGuessed = false;
  #last: CarillonEvent | undefined;
  #skewMs = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isOver = false;

  constructor(
    private readonly subject: string,
    private readonly source: Source,
  ) {
    this.#path = `/v1/streams/${subject.split("/").map(encodeURIComponent).join("/")}`;
    this.#unsubscribes = [
      source.onEvent((event, cursor) => event.subject === subject && this.#take(event, cursor)),
      source.onReset(() => this.#load()),
      source.onStatus((situation) => this.#heed(situation)),
    ];
    queueMicrotask(() => this.#load());
  }

  onUpdate(handler: (update: StreamUpdate) => void): Unsubscribe {
    return this.#updates.add(handler);
  }

  onEnd(handler: (stream: StreamState | null) => void): Unsubscribe {
    return this.#ends.add(handler);
  }

  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    for (const unsubscribe of this.#unsubscribes) unsubscribe();
    this.#ends.call(this.current);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<StreamUpdate> {
    const waiting: StreamUpdate[] = this.current ? [{ stream: this.current }] : [];
    let wake = (): void => undefined;
    const stop = [
      this.onUpdate((update) => {
        waiting.push(update);
        if (waiting.length > WAITING_UPDATES) waiting.shift();
        wake();
      }),
      this.onEnd(() => wake()),
    ];
    try {
      for (;;) {
        for (let next = waiting.shift(); next; next = waiting.shift()) yield next;
        if (this.#isOver) return;
        await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      for (const unsubscribe of stop) unsubscribe();
    }
  }

  #heed({ status, reason }: Situation): void {
    if (reason === "closed") this.close();
    // What came while it caught up had happened at another time than it came.
    else if (status === "live" ? this.#isWaiting || this.#isGuessed : status === "catching-up" && this.#isWaiting) this.#load();
  }

  #take(event: CarillonEvent, cursor: string): void {
    if (this.#isOver) return;
    if (this.#early) this.#early.push([event, cursor]);
    else if (!covers(this.#place, cursor)) this.#fold(event, cursor);
  }

  #fold(event: CarillonEvent, cursor: string): void {
    this.#place = cursor;
    this.#isGuessed ||= event.time === undefined;
    const stream = withEvent(this.current!, event, Date.now() + this.#skewMs);
    if (!stream.final || !this.#isGuessed) return this.#show(stream, event);
    // The last word has the times of the log.
    this.#last = event;
    this.#load();
  }

  #show(stream: StreamState, event?: CarillonEvent): void {
    this.current = stream;
    this.#updates.call(event ? { stream, event } : { stream });
    if (stream.final) this.close();
  }

  #load(): void {
    if (this.#isOver) return;
    clearTimeout(this.#timer);
    // Nobody is signed in yet, or not any more; and the cookie may be somebody else's by then.
    this.#isWaiting = ["connecting", "expired"].includes(this.source.situation().status);
    if (this.#isWaiting) return;
    // Anew, also where it is being loaded: what that answer knows nothing of is gone with a reset.
    const early: [CarillonEvent, string][] = (this.#early = []);
    this.source.request(this.#path).then(
      (response) => this.#loaded(response, early),
      () => this.#again(early),
    );
  }

  async #loaded(response: Response, early: [CarillonEvent, string][]): Promise<void> {
    const body = (await response.json().catch(() => null)) as (StreamState & { cursor: string; detail?: string }) | null;
    if (this.#early !== early || this.#isOver) return;
    if (response.status === 404) return this.#begin(unbegun(this.subject), null);
    if (response.ok && body !== null && typeof body.version === "number") {
      this.#skewMs = Date.parse(response.headers.get("Date") ?? "") - Date.now() || 0;
      return this.#begin(body, body.cursor);
    }
    if (response.status === 400 || response.status === 403) {
      this.error = String(body?.detail ?? response.status);
      return this.close();
    }
    this.#again(early);
  }

  #begin(stream: StreamState, place: Place): void {
    const early = this.#early!;
    this.#early = null;
    this.#failures = 0;
    this.#isGuessed = false;
    this.#place = place;
    this.#show(stream, this.#last);
    for (const [event, cursor] of early) this.#take(event, cursor);
  }

  #again(early: [CarillonEvent, string][]): void {
    if (this.#early !== early || this.#isOver) return;
    this.#timer = setTimeout(() => this.#load(), backoffMs(++this.#failures, RETRY_MS, Math.random()));
  }
}
