// The connection's life as a table: what it does next, whatever happens.

import assert from "node:assert/strict";
import test from "node:test";
import fc from "./examples.js";
import { type Answer, Connection, type Effect, type Input } from "../src/connection.js";
import type { Situation } from "../src/situation.js";

const STREAM: Answer = { status: 200, isStream: true };
const ALICE = { user: "alice", expiresIn: 3600 };

function frame(name: string, data?: unknown, more: { id?: string; retry?: number } = {}): Input {
  const text = typeof data === "string" ? data : JSON.stringify(data);
  return { is: "frame", frame: { name, ...(data === undefined ? {} : { data: text }), ...more } };
}

const answered = (status: number, more: Partial<Answer> = {}): Input => ({
  is: "answered",
  answer: { status, isStream: false, ...more },
});

const connected = (position: number, about: Record<string, unknown> = {}): Input =>
  frame("connected", { user: "alice", heartbeat_s: 15, head: `log.${position}`, ...about }, { id: `log.${position}` });

const LIVE: Input[] = [{ is: "open" }, { is: "answered", answer: STREAM }, connected(5)];

/** A connection that all this has happened to, and what it did at the last of it. */
function after(...inputs: Input[]): { connection: Connection; effects: Effect[] } {
  const connection = new Connection(null, "alice", () => 0.5);
  let effects: Effect[] = [];
  for (const input of inputs) effects = connection.take(input);
  return { connection, effects };
}

const situation = (effects: Effect[]): Situation | undefined =>
  effects.findLast((effect) => effect.do === "show")?.situation;
const done = (effects: Effect[]): string => effects.map((effect) => effect.do).join(" ");

interface Case {
  inputs: Input[];
  /** What the last of them made it do, without what it shows. */
  does: string;
  shows?: Partial<Situation>;
}

const CASES: Record<string, Case> = {
  "waits for an hour at most, whatever a server says": {
    inputs: [...LIVE, frame("closing", { reason: "drain", reconnect: true }, { retry: 1e12 })],
    does: "cancel wait",
    shows: { status: "offline", reason: "drain", retryInMs: 3_600_000 },
  },
  "asks who is signed in, then lets its tab decide": {
    inputs: [{ is: "ask", withToken: true }, { is: "asked", session: ALICE }],
    does: "known",
  },
  "asks again later where nobody could say": {
    inputs: [{ is: "ask", withToken: true }, { is: "unknown" }],
    does: "cancel wait",
    shows: { status: "offline", reason: "unreachable", retryInMs: 2000 },
  },
  "is over where nobody is signed in": {
    inputs: [{ is: "ask", withToken: true }, { is: "asked", session: null }],
    does: "cancel",
    shows: { status: "expired", reason: "signed-out" },
  },
  "is live once connected at the head": { inputs: LIVE, does: "item", shows: { status: "live" } },
  "catches up with the head that it found": {
    inputs: [...LIVE.slice(0, 2), connected(5, { head: "log.9" })],
    does: "item",
    shows: { status: "catching-up" },
  },
  "is still catching up at an event below the head": {
    inputs: [...LIVE.slice(0, 2), connected(5, { head: "log.9" }), frame("a.b", {}, { id: "log.8" })],
    does: "item",
  },
  "is live when an event reaches the head": {
    inputs: [...LIVE.slice(0, 2), connected(5, { head: "log.9" }), frame("a.b", {}, { id: "log.9" })],
    does: "item",
    shows: { status: "live" },
  },
  "is live when progress reaches the head": {
    inputs: [...LIVE.slice(0, 2), connected(5, { head: "log.9" }), frame("message", undefined, { id: "log.9" })],
    does: "item",
    shows: { status: "live" },
  },
  "takes a reset's place": { inputs: [...LIVE, frame("reset", { reason: "other-log" }, { id: "new.2" })], does: "reset" },
  "passes on frames without a place": { inputs: [...LIVE, frame("inbox.changed", { counts: {} })], does: "signal" },
  "notes a retry that comes alone": {
    inputs: [...LIVE, frame("message", undefined, { retry: 10_000 }), { is: "ended", reason: "cut" }],
    does: "cancel wait",
    shows: { status: "offline", reason: "cut", retryInMs: 10_000 },
  },
  "stops at 204": { inputs: [{ is: "open" }, answered(204)], does: "cancel", shows: { status: "stopped", reason: "ended" } },
  "stops where Carillon refuses": {
    inputs: [{ is: "open" }, answered(403, { problem: "topic x is not granted" })],
    does: "cancel",
    shows: { status: "stopped", reason: "refused", detail: "topic x is not granted" },
  },
  "does not take a proxy's word for a refusal": {
    inputs: [{ is: "open" }, answered(404)],
    does: "cancel wait",
    shows: { status: "offline", reason: "404" },
  },
  "does not take HTML for a stream": {
    inputs: [{ is: "open" }, answered(200)],
    does: "cancel wait",
    shows: { status: "offline", reason: "no-event-stream" },
  },
  "waits as long as Retry-After says, and a little more": {
    inputs: [{ is: "open" }, answered(503, { retryAfterMs: 7000, problem: "the edge drains" })],
    does: "cancel wait",
    shows: { status: "offline", reason: "503", retryInMs: 9000, detail: "the edge drains" },
  },
  "is not woken from a wait that the server asked for": {
    inputs: [{ is: "open" }, answered(429, { retryAfterMs: 7000 }), { is: "woken", now: 0 }],
    does: "",
  },
  "is woken from any other wait": {
    inputs: [{ is: "open" }, { is: "ended", reason: "unreachable" }, { is: "woken", now: 0 }],
    does: "cancel open",
  },
  "tries again after the wait": {
    inputs: [{ is: "open" }, { is: "ended", reason: "unreachable" }, { is: "retry" }],
    does: "cancel open",
  },
  "tries to renew when it is refused": { inputs: [{ is: "open" }, answered(401)], does: "cancel ask" },
  "opens again with the session renewed": {
    inputs: [{ is: "open" }, answered(401), { is: "asked", session: ALICE }],
    does: "cancel open",
  },
  "has expired where there is nothing to renew": {
    inputs: [{ is: "open" }, answered(401), { is: "asked", session: null }],
    does: "cancel",
    shows: { status: "expired", reason: "signed-out" },
  },
  "does not go in circles between 401 and a session": {
    inputs: [{ is: "open" }, answered(401), { is: "asked", session: ALICE }, answered(401)],
    does: "cancel wait",
    shows: { status: "offline", reason: "unauthorized" },
  },
  "does not show one user the events of another": {
    inputs: [...LIVE.slice(0, 2), connected(5, { user: "bob" })],
    does: "cancel",
    shows: { status: "expired", reason: "other-user" },
  },
  "does not renew somebody else's session": {
    inputs: [{ is: "open" }, answered(401), { is: "asked", session: { user: "bob", expiresIn: 60 } }],
    does: "cancel",
    shows: { status: "expired", reason: "other-user" },
  },
  "renews a session that is about to expire": { inputs: [...LIVE, frame("session-expiring", { expires_in: 60 })], does: "signal ask" },
  "opens anew once that has brought time": {
    inputs: [...LIVE, frame("session-expiring", { expires_in: 60 }), { is: "asked", session: ALICE }],
    does: "cancel open",
  },
  "renews again later where it was too early": {
    inputs: [...LIVE, frame("session-expiring", { expires_in: 60 }), { is: "asked", session: { user: "alice", expiresIn: 59 } }],
    does: "wait",
  },
  "renews again later where nobody answered": {
    inputs: [...LIVE, frame("session-expiring", { expires_in: 60 }), { is: "unknown" }],
    does: "wait",
  },
  "lets a session end that cannot be renewed": {
    inputs: [...LIVE, frame("session-expiring", { expires_in: 1 }), { is: "asked", session: { user: "alice", expiresIn: 1 } }],
    does: "",
  },
  "comes back after a drain when it was told to": {
    inputs: [...LIVE, frame("closing", { reason: "drain", reconnect: true }, { retry: 5592 })],
    does: "cancel wait",
    shows: { status: "offline", reason: "drain", retryInMs: 5592 },
  },
  "looks for a newer session at the end of its own": {
    inputs: [...LIVE, frame("closing", { reason: "session-expired", reconnect: false })],
    does: "cancel ask",
  },
  "stops where it was closed for a newer connection": {
    inputs: [...LIVE, frame("closing", { reason: "newer-connection", reconnect: false })],
    does: "cancel",
    shows: { status: "stopped", reason: "newer-connection" },
  },
  "comes back after a closing that cannot be read": {
    inputs: [...LIVE, frame("closing", "{")],
    does: "cancel wait",
    shows: { status: "offline", reason: "closing" },
  },
  "bears two heartbeats of silence": {
    inputs: [...LIVE, { is: "heard", now: 0 }, { is: "tick", now: 45_000 }],
    does: "",
  },
  "reconnects after three": {
    inputs: [...LIVE, { is: "heard", now: 0 }, { is: "tick", now: 45_001 }],
    does: "cancel open",
    shows: { status: "offline", reason: "silent" },
  },
  "reconnects at once after sleep": {
    inputs: [...LIVE, { is: "heard", now: 0 }, { is: "woken", now: 3_600_000 }],
    does: "cancel open",
  },
  "stays when it wakes after a moment": {
    inputs: [...LIVE, { is: "heard", now: 0 }, { is: "woken", now: 20_000 }],
    does: "",
  },
  "counts silence anew where the clock was set back by hours": {
    inputs: [...LIVE, { is: "heard", now: 36_000_000 }, { is: "tick", now: 0 }, { is: "tick", now: 45_000 }],
    does: "",
  },
  "finds out by itself whether the network is gone": { inputs: [...LIVE, { is: "lost" }], does: "cancel open" },
  "gives up an answer that does not come": {
    inputs: [{ is: "open" }, { is: "tick", now: 0 }, { is: "tick", now: 45_001 }],
    does: "cancel open",
    shows: { status: "offline", reason: "silent" },
  },
  "ends where somebody else has signed in": {
    inputs: [...LIVE, { is: "replaced" }],
    does: "cancel",
    shows: { status: "expired", reason: "other-user" },
  },
};

for (const [name, { inputs, does, shows }] of Object.entries(CASES)) {
  test(name, () => {
    const { effects } = after(...inputs);
    assert.equal(done(effects.filter((effect) => effect.do !== "show")), does);
    const shown = situation(effects);
    assert.deepEqual(shown && { ...shown }, shows && { ...shown, ...shows });
  });
}

test("after a sign-out the app's token is not used behind the user's back, later neither", () => {
  const revoked = [...LIVE, frame("closing", { reason: "session-revoked", reconnect: false })];
  assert.deepEqual(after(...revoked).effects, [{ do: "cancel" }, { do: "ask", withToken: false }]);
  const later = after(...revoked, { is: "unknown" }, { is: "retry" }, answered(401)).effects;
  assert.deepEqual(later, [{ do: "cancel" }, { do: "ask", withToken: false }]);
});

test("each stream begins at the last place that the one before has told", () => {
  const inputs: Input[] = [...LIVE, frame("a.b", {}, { id: "log.8" }), frame("message", undefined, { id: "log.12" })];
  const { effects } = after(...inputs, { is: "ended", reason: "cut" }, { is: "retry" });
  assert.deepEqual(effects, [{ do: "cancel" }, { do: "open", cursor: "log.12" }]);
});

test("an event without JSON is still an event, at its place", () => {
  const { effects } = after(...LIVE, frame("a.b", "{not json", { id: "log.8" }));
  assert.deepEqual(effects, [{ do: "item", after: "log.5", cursor: "log.8", name: "a.b", data: "{not json" }]);
});

test("failures in a row wait longer; one heartbeat of life, or an event, forgives them", () => {
  const cut: Input[] = [{ is: "ended", reason: "cut" }, { is: "retry" }, ...LIVE.slice(1)];
  const wait = (...inputs: Input[]) => situation(after(...inputs, { is: "ended", reason: "cut" }).effects)?.retryInMs;
  assert.equal(wait(...LIVE), 2000);
  assert.equal(wait(...LIVE, ...cut, ...cut), 8000);
  assert.equal(wait(...LIVE, ...cut, ...cut, { is: "tick", now: 0 }), 2000);
  assert.equal(wait(...LIVE, ...cut, ...cut, frame("a.b", {}, { id: "log.8" })), 2000);
});

const anyInput: fc.Arbitrary<Input> = fc.oneof(
  fc.constantFrom<Input>(
    { is: "ask", withToken: true }, { is: "open" }, { is: "close" }, { is: "retry" }, { is: "renew" }, { is: "lost" },
    { is: "asked", session: ALICE }, { is: "asked", session: null }, { is: "unknown" }, { is: "replaced" },
    { is: "answered", answer: STREAM }, answered(401), answered(503, { retryAfterMs: 1 }), answered(204), connected(3),
    { is: "ended", reason: "cut" }, frame("closing", { reason: "drain" }), frame("session-expiring", null),
  ),
  fc.nat({ max: 100_000 }).chain((now) => fc.constantFrom<Input>({ is: "tick", now }, { is: "woken", now }, { is: "heard", now })),
  fc.tuple(fc.string(), fc.option(fc.string(), { nil: undefined }), fc.option(fc.string(), { nil: undefined })).map(
    ([name, data, id]): Input => frame(name, data, id === undefined ? {} : { id }),
  ),
);

test("whatever happens in whatever order, it throws nothing, and never holds two requests", () => {
  fc.assert(
    fc.property(fc.array(anyInput, { maxLength: 60 }), (inputs) => {
      const connection = new Connection(null, null, () => 0.5);
      let requests = 0;
      for (const effect of inputs.flatMap((input) => connection.take(input))) {
        if (effect.do === "cancel") requests = 0;
        if (effect.do === "open") requests++;
        assert.ok(requests <= 1);
        if (effect.do === "wait") assert.ok(effect.ms >= 0 && effect.ms < 2 ** 31);
      }
    }),
    { numRuns: 2000 },
  );
});
