// A browser with its tabs, and an edge with its log, as plain data: each step is one thing that happens to one of them,
// and whoever runs the world chooses which comes next. The tabs are the real ones (src/tab.ts).

import assert from "node:assert/strict";
import type { Input } from "../src/connection.js";
import { Tab, type Message, type TabEffect, type TabInput } from "../src/tab.js";

const USER = "alice";

/** One open stream: where it is in the log, and what it has not said yet. */
interface Stream {
  position: number;
  saysFirst: Input[];
}

interface TabState {
  tab: Tab;
  name: string;
  stream: Stream | null;
  asks: number;
  /** Whether somebody has told that the user has signed in. */
  isTold: boolean;
  timers: Set<TabTimer>;
  /** Messages on their way here, in the order of each sender. */
  inbox: { from: string; message: Message }[];
  isMember: boolean;
  /** Its page is hidden or in the back/forward cache. */
  isAway: boolean;
  isFrozen: boolean;
  /** How many streams it has opened. */
  opened: number;
  delivered: number[];
  /** It has to see everything after this. */
  start: number | null;
  from: string | null;
  resets: number;
  statuses: string[];
}

type TabTimer = Extract<TabEffect, { do: "wait" }>["timer"];

type Step = [what: string, run: () => void];

export class World {
  readonly tabs: TabState[] = [];
  /** Whether the user sees the event at each position; the first one is at 1. */
  log: boolean[] = [];
  logId = "log";
  /** What is older is not kept. */
  floor = 0;
  isSignedIn = true;
  #queue: string[] = [];
  #holder: string | null = null;
  #count = 0;

  get head(): number {
    return this.log.length;
  }

  append(isVisible: boolean): void {
    this.log.push(isVisible);
  }

  /** As after a restore without the old log: no cursor of it means anything any more. */
  replaceLog(): void {
    [this.logId, this.log, this.floor] = ["other", [], 0];
    for (const state of this.tabs) this.cut(state);
  }

  open(from: string | null): TabState {
    const name = `tab${this.#count++}`;
    const state: TabState = {
      tab: new Tab(name, true, from, () => 0.5), name, stream: null, asks: 0, isTold: false, timers: new Set(), inbox: [],
      isMember: false, isAway: false, isFrozen: false, opened: 0, delivered: [],
      start: from === "earliest" ? null : startOf(from), from, resets: 0, statuses: [],
    };
    this.tabs.push(state);
    this.give(state, { is: "start", withToken: true });
    return state;
  }

  /** The tab is gone from one moment to the next; what it has posted is still on its way. */
  crash(state: TabState): void {
    this.tabs.splice(this.tabs.indexOf(state), 1);
    this.#release(state.name);
  }

  leave(state: TabState): void {
    state.isAway = true;
    this.give(state, { is: "leave" });
  }

  comeBack(state: TabState): void {
    if (state.isAway) this.give(state, { is: "start", withToken: true });
    state.isAway = false;
  }

  give(state: TabState, input: TabInput): void {
    for (const effect of state.tab.take(input)) this.#do(state, effect);
  }

  /** Everything that could happen next without anybody's doing. */
  steps(): Step[] {
    return [...this.#elections(), ...this.tabs.filter(({ isFrozen }) => !isFrozen).flatMap((state) => this.#stepsOf(state))];
  }

  cut(state: TabState): void {
    if (state.stream) this.#edge(state, { is: "ended", reason: "cut" });
  }

  /** In this browser: every stream ends, and none begins. */
  signOut(): void {
    this.isSignedIn = false;
    const data = JSON.stringify({ reason: "session-revoked", reconnect: false });
    for (const state of this.tabs) {
      if (state.stream) this.#edge(state, { is: "frame", frame: { name: "closing", data } });
    }
  }

  /** Lets everything happen that is left to happen; fails if that never ends. */
  settle(): void {
    for (const state of this.tabs) state.isFrozen = false;
    for (let round = 0; round < 2_000; round++) {
      const [next] = this.steps().filter(([what]) => what !== "unanswered" && what !== "probe");
      if (!next) return;
      next[1]();
    }
    assert.fail(`nothing comes to rest: ${this.steps().map(([what]) => what)}`);
  }

  // What can happen.

  #elections(): Step[] {
    const next = this.#queue[0];
    return this.#holder === null && next !== undefined ? [["elected", () => this.#elect(next)]] : [];
  }

  #stepsOf(state: TabState): Step[] {
    const steps: Step[] = [];
    if (state.asks) steps.push(["asked", () => this.#answerAsk(state)]);
    if (state.isTold) steps.push(["told of the user", () => this.#comeBackIn(state)]);
    for (const from of new Set(state.inbox.map((letter) => letter.from))) {
      steps.push([`message from ${from}`, () => this.#receive(state, from)]);
    }
    if (state.stream) steps.push(...this.#stepsOfStream(state, state.stream));
    // An answer that is still on its way has not been waited for long enough.
    for (const timer of state.timers) {
      if (timer !== "answer") steps.push([timer, () => this.#fire(state, timer)]);
      else if (!this.#isAnswering()) steps.push(["unanswered", () => this.#fire(state, timer)]);
    }
    return steps;
  }

  #isAnswering(): boolean {
    const isFrozen = this.tabs.find(({ name }) => name === this.#holder)?.isFrozen;
    return this.#holder !== null && !isFrozen;
  }

  #stepsOfStream(state: TabState, stream: Stream): Step[] {
    const [first] = stream.saysFirst;
    if (first) return [["greeting", () => (stream.saysFirst.shift(), this.#edge(state, first))]];
    return stream.position < this.head ? [["frame", () => this.#sendNext(state, stream)]] : [];
  }

  #sendNext(state: TabState, stream: Stream): void {
    const position = ++stream.position;
    const isVisible = this.log[position - 1];
    // Of what concerns others the stream tells only that it has passed it, and not each time.
    if (!isVisible && position < this.head) return;
    const event = isVisible ? { name: "counter.raised", data: String(position) } : { name: "message" };
    this.#edge(state, { is: "frame", frame: { ...event, id: `${this.logId}.${position}` } });
  }

  #fire(state: TabState, timer: TabTimer): void {
    state.timers.delete(timer);
    this.give(state, timer === "answer" || timer === "probe" ? { is: timer } : { is: "edge", input: { is: timer } });
  }

  /** Only the newest is heard, as in src/client.ts. */
  #answerAsk(state: TabState): void {
    state.asks = 0;
    this.#edge(state, { is: "asked", session: this.isSignedIn ? { user: USER, expiresIn: 3600 } : null });
  }

  #comeBackIn(state: TabState): void {
    state.isTold = false;
    const isOut = !state.isAway && !state.isMember && ["expired", "connecting"].includes(state.statuses.at(-1)!);
    if (isOut) this.give(state, { is: "start", withToken: false });
  }

  #receive(state: TabState, from: string): void {
    const at = state.inbox.findIndex((letter) => letter.from === from);
    const [letter] = state.inbox.splice(at, 1);
    this.give(state, { is: "message", message: letter!.message, now: 0 });
  }

  #edge(state: TabState, input: Input): void {
    this.give(state, { is: "edge", input });
  }

  // What tabs do.

  #do(state: TabState, effect: TabEffect): void {
    switch (effect.do) {
      case "ask":
        state.asks++;
        break;
      case "open":
        state.stream = this.#streamFrom(effect.cursor);
        state.opened++;
        break;
      case "cancel":
        state.stream = null;
        break;
      case "wait":
        state.timers.add(effect.timer);
        break;
      case "join":
        for (const other of this.tabs) other.isTold ||= other !== state && other.tab.connection.user === USER;
        if (!state.isMember) this.#queue.push(state.name);
        state.isMember = true;
        break;
      case "leave":
        state.isMember = false;
        state.inbox = [];
        this.#release(state.name);
        break;
      case "post":
        if (state.isMember) this.#post(state, effect.message);
        break;
      case "depose":
        this.#depose(state);
        break;
      case "show":
        state.statuses.push(effect.situation.status);
        break;
      case "moved":
        this.#noteStart(state, positionOf(effect.cursor));
        break;
      case "reset":
        state.resets++;
        state.start = positionOf(effect.cursor);
        state.delivered = [];
        break;
      case "deliver":
        this.#noteStart(state, positionOf(effect.cursor) - 1);
        state.delivered.push(positionOf(effect.cursor));
        break;
    }
  }

  /** Who asked for "from now on" must see everything from the first place on that it was told. */
  #noteStart(state: TabState, position: number): void {
    if (state.start === null && state.from === "earliest") assert.ok(position <= this.floor);
    state.start ??= position;
  }

  #streamFrom(cursor: string | null): Stream {
    const asked = startOf(cursor);
    const isOther = cursor !== null && cursor !== "earliest" && !cursor.startsWith(`${this.logId}.`);
    const isGone = isOther || (cursor !== "earliest" && asked !== null && asked < this.floor);
    const position = asked === null || isGone ? this.head : Math.max(asked, this.floor);
    const id = `${this.logId}.${position}`;
    const data = JSON.stringify({ user: USER, head: `${this.logId}.${this.head}` });
    if (!this.isSignedIn) return { position, saysFirst: [{ is: "answered", answer: { status: 401, isStream: false } }] };
    const saysFirst: Input[] = [
      { is: "answered", answer: { status: 200, isStream: true } },
      { is: "frame", frame: { name: "connected", data, id } },
    ];
    if (isGone) saysFirst.push({ is: "frame", frame: { name: "reset", data: "{}", id } });
    return { position, saysFirst };
  }

  #post(from: TabState, message: Message): void {
    for (const state of this.tabs) {
      if (state !== from && state.isMember) state.inbox.push({ from: from.name, message });
    }
  }

  #elect(name: string): void {
    this.#queue = this.#queue.filter((each) => each !== name);
    this.#holder = name;
    const state = this.tabs.find((each) => each.name === name);
    if (state) this.give(state, { is: "elected" });
  }

  #depose(by: TabState): void {
    const before = this.tabs.find(({ name }) => name === this.#holder);
    if (before && before !== by) {
      this.#queue.push(before.name);
      this.give(before, { is: "deposed" });
    }
    this.#elect(by.name);
  }

  #release(name: string): void {
    this.#queue = this.#queue.filter((each) => each !== name);
    if (this.#holder === name) this.#holder = null;
  }
}

/** What the tab must have been given by now, were it given everything. */
export function sliceOf(world: World, state: TabState): number[] {
  return world.log.flatMap((isVisible, at) => (isVisible && at + 1 > (state.start ?? world.head) ? [at + 1] : []));
}

const positionOf = (cursor: string): number => Number(cursor.split(".")[1]);

function startOf(from: string | null): number | null {
  if (from === null) return null;
  return from === "earliest" ? 0 : positionOf(from);
}
