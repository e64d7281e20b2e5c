// A tab among the tabs of its browser that share one connection. Pure: it knows no lock, no channel, no network.
//
// One tab leads: it has the connection, and passes on what comes. Each item names the place that it follows, so a
// follower sees by itself whether it has missed something (`after` is beyond it: it asks) or has it already (`cursor`
// is not: it drops it). Who is farther behind than the leader remembers reads the server itself until it is not.

import { Connection, type Effect, type Input } from "./connection.js";
import { covers, isPlace, type Place } from "./cursor.js";
import { Recent, type Item } from "./recent.js";
import { isOver, type Situation } from "./situation.js";

/** What tabs tell each other. */
export type Message =
  // Here I am: who leads, and what have I missed? Awake: somebody looks, and wants the connection to be one.
  | { kind: "hello"; from: string; cursor: Place; isAwake: boolean }
  // `missed` is what came after `since`, the hello's cursor; null where the server must be asked for it.
  | { kind: "welcome"; to: string; situation: Situation; cursor: Place; since: Place; missed: Item[] | null }
  | { kind: "report"; situation: Situation }
  | ({ kind: "item" } & Item)
  | { kind: "reset"; after: Place; cursor: string; data: string }
  | { kind: "signal"; name: string; data: string };

export type TabInput =
  | { is: "start"; withToken: boolean }
  | { is: "edge"; input: Input } // of the own connection
  | { is: "message"; message: Message; now: number }
  | { is: "elected" }
  | { is: "deposed" } // another tab took the lead, because this one did not answer
  | { is: "answer" } // nobody answered the hello
  | { is: "probe" } // time to see whether the leader still answers
  | { is: "woken"; now: number }
  | { is: "leave" };

export type TabEffect =
  | Extract<Effect, { do: "ask" | "open" | "cancel" | "wait" | "show" | "signal" }>
  | { do: "join"; user: string } // the election, and the channel, of this user's tabs
  | { do: "leave" } // both of them
  | { do: "post"; message: Message }
  | { do: "wait"; timer: "answer" | "probe"; ms: number }
  | { do: "depose" } // the leader that does not answer
  | { do: "deliver"; name: string; data: string; cursor: string }
  | { do: "moved"; cursor: string }
  | { do: "reset"; data: string; cursor: string };

// A leader in a hidden tab answers messages at once; one that is stopped, in a debugger or by the system, never does.
const ANSWER_WITHIN_MS = 3_000;
// How long a follower believes in a leader that says nothing: a quiet user's has nothing to say.
const PROBE_EVERY_MS = 30_000;

export class Tab {
  readonly connection: Connection;
  role: "alone" | "none" | "follower" | "leader" = "none";
  #asked = false;
  #behind = false;
  #target: Place = null;
  #recent = new Recent(null);
  #leaders: Situation = { status: "connecting" };

  /**
   * @param id names the tab among the others
   * @param shares whether there are others to share with
   */
  constructor(
    readonly id: string,
    private readonly shares: boolean,
    public cursor: Place,
    random: () => number,
  ) {
    this.connection = new Connection(cursor, null, random);
  }

  take(input: TabInput): TabEffect[] {
    switch (input.is) {
      case "start":
        if (this.shares) return this.#edge({ is: "ask", withToken: input.withToken });
        this.role = "alone";
        return this.#connect();
      case "edge":
        return this.#edge(input.input);
      case "message":
        return this.#message(input.message, input.now);
      case "elected":
        return this.#elected();
      case "deposed":
        this.role = "follower";
        return [...this.#edge({ is: "close" }), ...this.#hello()];
      case "answer":
        return this.#asked && this.role === "follower" ? [{ do: "depose" }] : [];
      case "probe":
        return this.#isFollowing ? this.#hello() : [];
      case "woken":
        return this.#isFollowing ? this.#hello(true) : this.#edge({ is: "woken", now: input.now });
      case "leave":
        return this.#leave();
    }
  }

  // The own connection, of a leader, of one who is alone, and of one who is behind.

  #connect(): TabEffect[] {
    this.connection.cursor = this.cursor;
    return this.#edge({ is: "open" });
  }

  #edge(input: Input): TabEffect[] {
    return this.connection.take(input).flatMap((effect) => this.#of(effect));
  }

  #of(effect: Effect): TabEffect[] {
    switch (effect.do) {
      case "known":
        this.role = "follower";
        return [{ do: "join", user: effect.session.user }, ...this.#hello(true)];
      case "item":
        // Its own connection began at or below where the tab is by now: there is no gap, but there are repeats.
        return covers(this.cursor, effect.cursor)
          ? []
          : this.#accept({ after: this.cursor, cursor: effect.cursor, name: effect.name, data: effect.data });
      case "reset":
        return this.#reset(effect);
      case "show":
        // Of a follower the leader's counts; the last words of its own connection come after it has caught up.
        return this.role === "follower" && !this.#behind && !isOver(effect.situation) ? [] : this.#show(effect.situation);
      case "signal":
        return this.#behind ? [] : [...this.#post({ kind: "signal", name: effect.name, data: effect.data }), effect];
      default:
        return [effect];
    }
  }

  #show(situation: Situation): TabEffect[] {
    if (isOver(situation)) return [...this.#report(situation), { do: "show", situation }, ...this.#leave()];
    if (!this.#behind) return [...this.#report(situation), { do: "show", situation }];
    return [{ do: "show", situation: situation.status === "offline" ? situation : { status: "catching-up" } }];
  }

  #reset({ after, cursor, data }: { after: Place; cursor: string; data: string }): TabEffect[] {
    this.cursor = cursor;
    this.#recent = new Recent(cursor);
    // What was to be caught up with is gone, too.
    this.#target = cursor;
    return [...this.#post({ kind: "reset", after, cursor, data }), { do: "reset", data, cursor }, ...this.#caughtUp()];
  }

  #accept(item: Item): TabEffect[] {
    this.cursor = item.cursor;
    const { name, data, cursor } = item;
    const here: TabEffect =
      name === undefined || data === undefined ? { do: "moved", cursor } : { do: "deliver", name, data, cursor };
    if (this.role === "leader") this.#recent.add(item);
    return [...this.#post({ kind: "item", ...item }), here, ...this.#caughtUp()];
  }

  #report(situation: Situation): TabEffect[] {
    return this.#post({ kind: "report", situation });
  }

  #post(message: Message): TabEffect[] {
    return this.role === "leader" ? [{ do: "post", message }] : [];
  }

  #caughtUp(): TabEffect[] {
    if (!this.#behind || !covers(this.cursor, this.#target)) return [];
    this.#behind = false;
    return [...this.#edge({ is: "close" }), ...this.#hello()];
  }

  // The other tabs.

  #elected(): TabEffect[] {
    const isReading = this.#behind;
    this.role = "leader";
    this.#asked = this.#behind = false;
    this.#recent = new Recent(this.cursor);
    if (isReading) return this.#show(this.connection.situation);
    // Nothing has changed for anybody to see, unless the new connection fails.
    this.connection.situation = this.#leaders;
    return [...this.#report(this.#leaders), ...this.#connect()];
  }

  get #isFollowing(): boolean {
    return this.role === "follower" && !this.#behind;
  }

  #hello(isAwake = false): TabEffect[] {
    this.#asked = true;
    return [
      { do: "post", message: { kind: "hello", from: this.id, cursor: this.cursor, isAwake } },
      { do: "wait", timer: "answer", ms: ANSWER_WITHIN_MS },
    ];
  }

  #leave(): TabEffect[] {
    this.role = "none";
    this.#asked = this.#behind = false;
    // Of the tabs that it finds when it is back it knows nothing: told as theirs, an old `expired` has ended them all.
    this.#leaders = { status: "connecting" };
    return [...this.#edge({ is: "close" }), { do: "leave" }];
  }

  #message(message: Message, now: number): TabEffect[] {
    if (message.kind === "hello") return this.role === "leader" ? this.#answer(message, now) : [];
    if (this.role !== "follower") return [];
    switch (message.kind) {
      case "welcome":
        return message.to === this.id ? this.#welcomed(message) : [];
      case "report":
        return this.#reported(message.situation);
      case "item":
        return this.#offered(message);
      case "reset":
        // Who was not farther than the leader has lost the same history; anybody else will notice what is missing.
        return !this.#behind && covers(message.after, this.cursor) ? this.#reset(message) : [];
      case "signal":
        return [{ do: "signal", name: message.name, data: message.data }];
      default:
        return [];
    }
  }

  #answer({ from: to, cursor: since, isAwake }: Extract<Message, { kind: "hello" }>, now: number): TabEffect[] {
    const missed = since === null ? [] : this.#recent.since(since);
    // `earliest` is no place for others to be at.
    const here = isPlace(this.cursor) ? this.cursor : null;
    const welcome: Message = { kind: "welcome", to, situation: this.connection.situation, cursor: here, since, missed };
    return [{ do: "post", message: welcome }, ...(isAwake ? this.#edge({ is: "woken", now }) : [])];
  }

  #welcomed({ situation, cursor, since, missed }: Extract<Message, { kind: "welcome" }>): TabEffect[] {
    if (this.#behind) return [];
    this.#asked = false;
    this.#leaders = situation;
    // An answer to an earlier hello, that knew of no place to go on from.
    if (since === null && this.cursor !== null) return this.#hello();
    const effects = (missed ?? []).flatMap((item) => (covers(this.cursor, item.cursor) ? [] : this.#accept(item)));
    if (cursor === null || covers(this.cursor, cursor)) return [...effects, ...this.#mirror()];
    if (missed !== null) return [...effects, ...this.#accept({ after: this.cursor, cursor }), ...this.#mirror()];
    this.#behind = true;
    this.#target = cursor;
    return [...this.#show({ status: "catching-up" }), ...this.#connect()];
  }

  #reported(situation: Situation): TabEffect[] {
    // Who has just come may be signed in anew: its own connection tells, now that nobody leads any more.
    if (isOver(situation)) return this.#asked ? [] : this.#show(situation);
    this.#leaders = situation;
    if (this.#behind) return [];
    // Where a hello is open, it may have been said when nobody led.
    return [...this.#mirror(), ...(this.#asked ? this.#hello() : [])];
  }

  /** The leader lives, and that is how it is. */
  #mirror(): TabEffect[] {
    return [{ do: "show", situation: this.#leaders }, { do: "wait", timer: "probe", ms: PROBE_EVERY_MS }];
  }

  #offered(item: Item): TabEffect[] {
    if (covers(this.cursor, item.cursor)) return [];
    if (this.cursor === null || covers(this.cursor, item.after)) return this.#accept(item);
    return this.#asked || this.#behind ? [] : this.#hello();
  }
}
