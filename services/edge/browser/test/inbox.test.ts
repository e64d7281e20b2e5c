// The headless inbox, from a client that is connected to a real server which keeps an inbox of its own.

import assert from "node:assert/strict";
import type { IncomingMessage } from "node:http";
import test from "node:test";
import fc from "./examples.js";
import { type Inbox, type InboxItem, type InboxOptions, type InboxState, inbox } from "../src/inbox.js";
import { type Action, type Marked, refreshed, withActions } from "../src/marks.js";
import { connected, type Edge, frame, json, problem, type Respond, stream, until, withEdge } from "./edge.js";

const SESSION = json(200, { sub: "alice", expires_in: 3600 });

function item(number: number, more: Partial<InboxItem> = {}): InboxItem {
  const told = { title: `#${number}`, body: null, link: null, level: "info", topic: null, time: "2026-01-01T00:00:00Z" } as const;
  return { id: String(number), ...told, seen: false, read: false, archived: false, ...more };
}

/** Items from one number down to another, newest first. */
const items = (from: number, to: number): InboxItem[] =>
  Array.from({ length: from - to + 1 }, (_, at) => item(from - at));

const ids = (state: { items: readonly InboxItem[] }): string => state.items.map(({ id }) => id).join(" ");

/** The server's side: a list that tests change, and what was asked of it. */
class Kept {
  all: InboxItem[] = [];
  place = 5;
  readonly marked: [path: string, body: any][] = [];
  /** Answers instead, while it is there. */
  trouble: Respond | null = null;

  answer: Respond = (request, response) =>
    void body(request).then((text) => {
      if (text && !this.trouble) this.marked.push([request.url!, JSON.parse(text)]);
      (this.trouble ?? this.#respond(request))(request, response);
    });

  #respond(request: IncomingMessage): Respond {
    const url = new URL(request.url!, "http://test");
    const counts = { unread: this.all.filter(({ read }) => !read).length, unseen: 0, limit: 99 };
    const cursor = `log.${this.place}`;
    if (request.method === "POST") return json(200, { counts: { ...counts, unread: 0 }, cursor });
    if (url.pathname.endsWith("/counts")) return json(200, { ...counts, cursor });
    const below = Number(url.searchParams.get("cursor")?.split(".")[1] ?? Infinity);
    const rest = this.all.filter(({ id }) => Number(id) < below);
    const page = rest.slice(0, Number(url.searchParams.get("limit")));
    return json(200, { items: page, next: rest.length > page.length ? `log.${page.at(-1)!.id}` : null, cursor });
  }
}

async function body(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of request) text += String(chunk);
  return text;
}

interface Scene {
  edge: Edge;
  kept: Kept;
  box: Inbox;
  states: InboxState[];
  /** Sends a frame on the open stream. */
  send(...frames: string[]): void;
}

function scene(options: InboxOptions, all: InboxItem[], use: (scene: Scene) => Promise<void>): Promise<void> {
  const kept = new Kept();
  kept.all = all;
  let send = (..._frames: string[]): void => undefined;
  const live: Respond = (request, response) => {
    stream(connected(5))(request, response);
    send = (...frames) => void response.write(frames.join(""));
  };
  return withEdge(
    [live],
    async (edge) => {
      const box = inbox(edge.connect(), options);
      const states: InboxState[] = [];
      box.onChange((state) => states.push(state));
      await until(() => box.state.status === "ready");
      await use({ edge, kept, box, states, send: (...frames) => send(...frames) });
      box.close();
    },
    SESSION,
    { "/v1/inbox": [kept.answer] },
  );
}

const notified = (position: number): string =>
  frame("notification.sent", { id: "n", data: { title: "New" } }, `log.${position}`);

test("the newest page, the counts, and older pages until there are none", () =>
  scene({ limit: 3 }, items(7, 1), async ({ box }) => {
    assert.deepEqual([ids(box.state), box.state.hasMore, box.state.counts.unread], ["7 6 5", true, 7]);
    await box.more();
    await box.more();
    assert.deepEqual([ids(box.state), box.state.hasMore], ["7 6 5 4 3 2 1", false]);
    await box.more();
    assert.equal(box.state.items.length, 7);
  }));

test("a notification puts its item on top, and keeps what was loaded below", () =>
  scene({ limit: 2 }, items(4, 1), async ({ kept, box, send }) => {
    await box.more();
    const arrived: string[] = [];
    box.onArrival((each) => arrived.push(ids({ items: each })));
    kept.all = items(9, 1);
    kept.place = 9;
    send(notified(9));
    await until(() => arrived.length > 0);
    assert.deepEqual([ids(box.state), arrived], ["9 8 7 6", ["9 8 7 6"]]);
    await box.more();
    assert.equal(ids(box.state), "9 8 7 6 5 4");
  }));

test("an older page that comes after the list has begun anew leaves no gap", () =>
  scene({ limit: 2 }, items(4, 1), async ({ kept, box, send }) => {
    let answerLate = (): void => undefined;
    kept.trouble = (_request, response) => {
      kept.trouble = null;
      answerLate = () => json(200, { items: items(2, 1), next: null, cursor: "log.5" })(_request, response);
    };
    const more = box.more();
    await until(() => kept.trouble === null);
    kept.all = items(9, 1);
    kept.place = 9;
    send(notified(9));
    await until(() => ids(box.state) === "9 8");
    answerLate();
    await more;
    assert.equal(ids(box.state), "9 8");
    await box.more();
    assert.equal(ids(box.state), "9 8 7 6");
  }));

test("after a reset nothing stays that may be of another log, whatever its id", () =>
  scene({ limit: 2 }, items(4, 1), async ({ kept, box, send }) => {
    await box.more();
    kept.all = items(3, 3);
    kept.all.push(...Array.from({ length: 9 }, (_, at) => item(2, { id: `0.${9 - at}` })));
    kept.place = 5;
    send(frame("reset", { reason: "other-log", cursor: "log.5" }, "log.5"));
    await until(() => ids(box.state).startsWith("3 0.9"));
    assert.equal(ids(box.state), "3 0.9 0.8 0.7");
  }));

test("a list that has not been folded as far as its event is asked for again", () =>
  scene({}, items(2, 1), async ({ kept, box, send }) => {
    send(notified(8));
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(ids(box.state), "2 1");
    kept.all = items(8, 8).concat(items(2, 1));
    kept.place = 8;
    await until(() => box.state.items.length === 3);
  }));

test("what was there before the stream began, and is folded later, is not missed: no event tells of it", () => {
  const kept = new Kept();
  kept.place = 3;
  kept.all = items(1, 1);
  return withEdge(
    [stream(connected(5))],
    async (edge) => {
      const box = inbox(edge.connect());
      await until(() => box.state.items.length === 1);
      await new Promise((resolve) => setTimeout(resolve, 100));
      kept.all = items(2, 1);
      kept.place = 5;
      await until(() => ids(box.state) === "2 1");
      // And once more, after a gap in the history.
      kept.place = 4;
      kept.all = items(3, 1);
      void box.reload();
      await until(() => ids(box.state) === "3 2 1");
      kept.all = items(4, 1);
      kept.place = 5;
      await until(() => ids(box.state) === "4 3 2 1");
      box.close();
    },
    SESSION,
    { "/v1/inbox": [kept.answer] },
  );
});

test("new items wait where they are to be held, and are shown when asked for", () =>
  scene({ hold: true }, items(2, 1), async ({ kept, box, send }) => {
    kept.all = items(4, 1);
    kept.place = 9;
    send(notified(9));
    await until(() => box.state.held === 2);
    assert.equal(ids(box.state), "2 1");
    box.show();
    assert.deepEqual([ids(box.state), box.state.held], ["4 3 2 1", 0]);
  }));

test("what waits, and is archived elsewhere meanwhile, does not wait any more", () =>
  scene({ hold: true }, items(2, 1), async ({ kept, box, send }) => {
    kept.all = items(4, 1);
    kept.place = 9;
    send(notified(9));
    await until(() => box.state.held === 2);
    kept.all = items(3, 1);
    kept.place = 10;
    send(frame("inbox.changed", { counts: { unread: 3, unseen: 3, limit: 99 }, cursor: "log.10" }));
    await until(() => box.state.held === 1);
    box.show();
    assert.deepEqual([ids(box.state), box.state.held], ["3 2 1", 0]);
  }));

test("counts that the server pushes are shown before the list is loaded", () =>
  scene({}, items(2, 1), async ({ box, states, send }) => {
    send(frame("inbox.changed", { counts: { unread: 42, unseen: 1, limit: 99 }, cursor: "log.5" }));
    await until(() => states.some(({ counts }) => counts.unread === 42));
    await until(() => box.state.counts.unread === 2);
  }));

test("what is marked is to be seen at once, and sent", () =>
  scene({}, items(3, 1), async ({ kept, box }) => {
    const marking = box.mark("read", ["3", "1"]);
    assert.deepEqual(box.state.items.map(({ read }) => read), [true, false, true]);
    assert.equal(box.state.counts.unread, 1);
    assert.equal(await marking, true);
    assert.deepEqual(kept.marked, [["/v1/inbox/read", { ids: ["3", "1"] }]]);
    assert.deepEqual(box.state.items.map(({ read }) => read), [true, false, true]);
  }));

test("what the server refuses is taken back, and said", () =>
  scene({}, items(3, 1), async ({ kept, box }) => {
    kept.trouble = problem(404, "there is no item '3'");
    const marking = box.mark("archive", ["3"]);
    assert.equal(ids(box.state), "2 1");
    assert.equal(await marking, false);
    assert.deepEqual([ids(box.state), box.state.error], ["3 2 1", "there is no item '3'"]);
  }));

test("all is marked up to the list that the reader looks at", () =>
  scene({}, items(3, 1), async ({ kept, box }) => {
    const marking = box.mark("read", "all");
    assert.equal(box.state.counts.unread, 0);
    assert.equal(await marking, true);
    assert.deepEqual(kept.marked, [["/v1/inbox/read", { through: "log.5" }]]);
  }));

test("all of a list that nobody has seen yet is not marked", () =>
  withEdge([stream(connected(5))], async (edge) => {
    const box = inbox(edge.connect());
    assert.equal(await box.mark("read", "all"), false);
    assert.equal(box.state.error, "the list is not loaded yet");
    assert.deepEqual(edge.requests.filter(({ method }) => method === "POST"), []);
    box.close();
  }));

test("hundreds of ids are sent in several requests", () =>
  scene({}, items(3, 1), async ({ kept, box }) => {
    assert.equal(await box.mark("seen", items(450, 1).map(({ id }) => id)), true);
    assert.deepEqual(kept.marked.map(([, { ids }]) => ids.length), [200, 200, 50]);
  }));

test("a server that fails is told, and asked again", (context) =>
  scene({}, items(2, 1), async ({ kept, box }) => {
    context.mock.method(Math, "random", () => 0.02);
    kept.trouble = problem(503, "the log does not answer now");
    void box.reload();
    await until(() => box.state.status === "failed");
    assert.deepEqual([ids(box.state), box.state.error], ["2 1", "the log does not answer now"]);
    kept.trouble = null;
    await until(() => box.state.status === "ready");
    assert.equal(box.state.error, null);
  }));

test("where nobody is signed in nothing is asked for", () =>
  withEdge(
    [problem(401, "no session")],
    async (edge) => {
      const client = edge.connect();
      const box = inbox(client);
      await until(() => client.status === "expired");
      assert.equal(await box.mark("read", ["1"]), false);
      assert.equal(box.state.error, "nobody is signed in");
      assert.deepEqual(edge.requests.filter(({ url }) => url!.includes("inbox")), []);
      box.close();
    },
    problem(401, "no session"),
  ));

// The overlay of what the user has just done.

const anItem = fc.record({ id: fc.constantFrom(..."abcdef"), seen: fc.boolean(), read: fc.boolean(), archived: fc.boolean() });
const anAction: fc.Arbitrary<Action> = fc.record({
  mark: fc.constantFrom("seen" as const, "read" as const, "unread" as const, "archive" as const, "unarchive" as const),
  ids: fc.array(fc.constantFrom(..."abcdef")).map((some) => new Set(some)),
});

function countedOf(all: readonly InboxItem[]): Marked {
  const unread = all.filter(({ read, archived }) => !read && !archived).length;
  const unseen = all.filter(({ seen, archived }) => !seen && !archived).length;
  return { items: all, counts: { unread, unseen, limit: 99 } };
}

test("counts go with the items, whatever is done in whatever order", () => {
  fc.assert(
    fc.property(fc.uniqueArray(anItem, { selector: ({ id }) => id }), fc.array(anAction), (some, actions) => {
      const found = withActions(countedOf(some.map((each) => item(0, each))), actions);
      assert.deepEqual(found, countedOf(found.items));
      // What the server has taken already changes nothing.
      const last = actions.slice(-1);
      assert.deepEqual(withActions(found, last), found);
    }),
  );
});

test("a count of more than is counted stays one", () => {
  const many: Marked = { items: items(2, 1), counts: { unread: 100, unseen: 100, limit: 99 } };
  assert.equal(withActions(many, [{ mark: "read", ids: new Set(["1"]) }]).counts.unread, 100);
  assert.equal(withActions(many, [{ mark: "read", ids: null }]).counts.unread, 0);
  assert.equal(withActions({ ...many, counts: { ...many.counts, unread: 99 } }, [{ mark: "read", ids: new Set(["1"]) }]).counts.unread, 98);
});

const REFRESHED: [before: string, newest: string, isAll: boolean, after: string][] = [
  ["", "3 2", false, "3 2"],
  ["4 3 2 1", "6 5 4 3", false, "6 5 4 3 2 1"],
  ["4 3 2 1", "9 8 7 6", false, "9 8 7 6"],
  ["4 3 2 1", "4 2", false, "4 2 1"],
  ["4 3 2 1", "4 3", true, "4 3"],
  ["4 3", "", true, ""],
];

test("a newer beginning is put on what was loaded of the rest", () => {
  const list = (text: string): InboxItem[] => text.split(" ").filter(Boolean).map((id) => item(Number(id)));
  for (const [before, newest, isAll, after] of REFRESHED) {
    assert.equal(ids({ items: refreshed(list(before), list(newest), isAll) }), after);
  }
});
