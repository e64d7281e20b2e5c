// Streams by subject, from a client that is connected to a real server.

import assert from "node:assert/strict";
import test from "node:test";
import { mergePatch } from "../src/fold.js";
import type { StreamUpdate, SubjectStream } from "../src/index.js";
import { connected, event, frame, json, problem, type Respond, stream, text, until, withEdge } from "./edge.js";

const JOB = "job/1";
const SESSION = json(200, { sub: "alice", expires_in: 3600 });

const progressed = (position: number, progress: number, more: object = {}): string =>
  frame("job.progressed", { id: String(position), subject: JOB, ...more, data: { status: "running", progress } }, `log.${position}`);
const completed = (position: number, more: object = {}): string =>
  frame("job.completed", { id: String(position), subject: JOB, ...more, data: { status: "completed", result: 42 } }, `log.${position}`);
const TIMED = { time: "2026-01-01T00:00:07.500Z" };

/** What the edge has folded of it, as of a place in the log. */
function snapshot(position: number, about: object = {}): Respond {
  return json(200, { subject: JOB, version: 1, status: "running", progress: 10, state: { status: "running" }, final: false, started_at: "2026-01-01T00:00:00.000Z", cursor: `log.${position}`, ...about });
}

function collect(job: SubjectStream): StreamUpdate[] {
  const updates: StreamUpdate[] = [];
  job.onUpdate((update) => updates.push(update));
  return updates;
}

const progress = (updates: StreamUpdate[]): unknown[] => updates.map(({ stream: { progress } }) => progress);

/** Holds an answer back until the function is called. */
function held(respond: Respond): [Respond, () => void] {
  let release = (): void => undefined;
  const released = new Promise<void>((resolve) => (release = resolve));
  return [(request, response) => void released.then(() => respond(request, response)), release];
}

test("first the state, then each event, then the end", () =>
  withEdge(
    [stream(connected(5), progressed(6, 50, TIMED), event(7, "other.stream"), completed(8, TIMED))],
    async (edge) => {
      const job = edge.connect().stream(JOB);
      const updates = collect(job);
      let ended: unknown = null;
      job.onEnd((last) => (ended = last?.status));
      await until(() => ended !== null);
      assert.deepEqual(progress(updates), [10, 50, 50]);
      assert.deepEqual([ended, job.current?.final, job.current?.state.result], ["completed", true, 42]);
      assert.equal(job.current?.duration_ms, 7500);
      assert.deepEqual(updates.map((update) => update.event?.id), [undefined, "6", "8"]);
    },
    SESSION,
    { "/v1/streams/": [snapshot(5)] },
  ));

test("where events tell no time, the last word is the server's", () =>
  withEdge(
    [stream(connected(5), progressed(6, 50), completed(7))],
    async (edge) => {
      const updates: StreamUpdate[] = [];
      for await (const update of edge.connect().stream(JOB)) updates.push(update);
      assert.deepEqual(updates.map(({ event }) => event?.id), [undefined, "6", "7"]);
      assert.equal(updates.at(-1)!.stream.duration_ms, 1234);
    },
    SESSION,
    { "/v1/streams/": [snapshot(5), snapshot(7, { status: "completed", final: true, duration_ms: 1234 })] },
  ));

test("as an async iterator, which ends with the stream", () =>
  withEdge(
    [stream(connected(5), progressed(6, 50, TIMED), completed(7, TIMED))],
    async (edge) => {
      const seen: unknown[] = [];
      for await (const { stream } of edge.connect().stream(JOB)) seen.push(stream.status);
      assert.deepEqual(seen.at(-1), "completed");
    },
    SESSION,
    { "/v1/streams/": [snapshot(5)] },
  ));

test("what comes while the state is asked for is counted once, by its place", () => {
  const [answer, release] = held(snapshot(7, { progress: 70, version: 3 }));
  return withEdge(
    [stream(connected(5), progressed(6, 60), progressed(7, 70), progressed(8, 80))],
    async (edge) => {
      const client = edge.connect();
      const job = client.stream(JOB);
      const updates = collect(job);
      await until(() => client.cursor === "log.8");
      assert.deepEqual(updates, []);
      release();
      await until(() => updates.length === 2);
      assert.deepEqual(progress(updates), [70, 80]);
      assert.equal(job.current?.version, 4);
    },
    SESSION,
    { "/v1/streams/": [answer] },
  );
});

test("a stream that has not begun begins with its first event", () =>
  withEdge(
    [stream(connected(5), progressed(6, 1))],
    async (edge) => {
      const updates = collect(edge.connect().stream(JOB));
      await until(() => updates.length === 2);
      assert.deepEqual(updates.map(({ stream }) => [stream.version, stream.progress]), [[0, null], [1, 1]]);
    },
    SESSION,
    { "/v1/streams/": [problem(404, "there is no stream")] },
  ));

test("a stream that has ended is its state, and the end", () =>
  withEdge(
    [stream(connected(5))],
    async (edge) => {
      const seen: unknown[] = [];
      for await (const { stream } of edge.connect().stream(JOB)) seen.push(stream.status);
      assert.deepEqual(seen, ["passed"]);
    },
    SESSION,
    { "/v1/streams/": [snapshot(5, { status: "passed", final: true })] },
  ));

test("after a reset the state is asked for again", () =>
  withEdge(
    [stream(connected(9), frame("reset", { reason: "history-trimmed" }, "log.9"), progressed(10, 99))],
    async (edge) => {
      const job = edge.connect({ from: "log.2" }).stream(JOB);
      const updates = collect(job);
      await until(() => job.current?.progress === 99);
      assert.ok(progress(updates).includes(90));
    },
    SESSION,
    { "/v1/streams/": [snapshot(9, { progress: 90 })] },
  ));

for (const [name, trouble] of Object.entries({
  "a login page": text(200, "text/html", "<title>Sign in</title>"),
  "a server that fails": text(500, "text/plain", "Oops"),
  "nobody": ((_request, response) => response.destroy()) as Respond,
})) {
  test(`where ${name} answers, it asks again`, (context) =>
    withEdge(
      [stream(connected(5))],
      async (edge) => {
        context.mock.method(Math, "random", () => 0.01);
        const job = edge.connect().stream(JOB);
        await until(() => job.current !== null);
        assert.equal(job.current?.progress, 10);
      },
      SESSION,
      { "/v1/streams/": [trouble, snapshot(5)] },
    ));
}

test("where it is refused it ends, and says why", () =>
  withEdge(
    [stream(connected(5))],
    async (edge) => {
      const job = edge.connect().stream(JOB);
      const seen = [];
      for await (const update of job) seen.push(update);
      assert.deepEqual([seen, job.error], [[], "not granted"]);
    },
    SESSION,
    { "/v1/streams/": [problem(403, "not granted")] },
  ));

test("it ends with its client, and when it is closed", () =>
  withEdge(
    [stream(connected(5), progressed(6, 50))],
    async (edge) => {
      const client = edge.connect();
      const [first, second] = [client.stream(JOB), client.stream(JOB)];
      await until(() => first.current?.progress === 50);
      let ends = 0;
      first.onEnd(() => ends++);
      second.onEnd(() => ends++);
      second.close();
      second.close();
      client.close();
      assert.equal(ends, 2);
    },
    SESSION,
    { "/v1/streams/": [snapshot(5)] },
  ));

test("the subject is one part of the address for each of its own", () =>
  withEdge(
    [stream(connected(5))],
    async (edge) => {
      const job = edge.connect({ topics: ["a", "b/c"] }).stream("job/ä?#/%");
      await until(() => job.current !== null);
      // Of the same topics as the events that go on from it.
      assert.equal(edge.requests.at(-1)!.url, "/v1/streams/job/%C3%A4%3F%23/%25?topics=a%2Cb%2Fc");
    },
    SESSION,
    { "/v1/streams/": [snapshot(5)] },
  ));

test("a merge patch is that of RFC 7396, appendix A", () => {
  const cases: [unknown, unknown, unknown][] = [
    [{ a: "b" }, { a: "c" }, { a: "c" }],
    [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }],
    [{ a: "b" }, { a: null }, {}],
    [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
    [{ a: ["b"] }, { a: "c" }, { a: "c" }],
    [{ a: "c" }, { a: ["b"] }, { a: ["b"] }],
    [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
    [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
    [["a", "b"], ["c", "d"], ["c", "d"]],
    [{ a: "b" }, ["c"], ["c"]],
    [{ a: "foo" }, null, null],
    [{ a: "foo" }, "bar", "bar"],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: "b", c: null }, { a: "b" }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ];
  for (const [target, patch, result] of cases) assert.deepEqual(mergePatch(target, patch), result);
  // A member that would be more than a member.
  const hostile = JSON.parse('{"__proto__":{"polluted":true}}') as unknown;
  assert.deepEqual(Object.keys(mergePatch({}, hostile) as object), ["__proto__"]);
  assert.equal(({} as { polluted?: boolean }).polluted, undefined);
});
