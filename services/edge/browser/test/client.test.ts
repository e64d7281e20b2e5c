// The client on a real network, against servers that do what they should not.

import assert from "node:assert/strict";
import test from "node:test";
import type { CarillonEvent, Client } from "../src/index.js";
import { ask } from "../src/session.js";
import { breakable, connected, event, frame, json, problem, stream, text, until, withEdge } from "./edge.js";

const LOGIN_PAGE = text(200, "text/html", "<!doctype html><title>Sign in</title>");

function collect(client: Client, type = "*"): CarillonEvent[] {
  const seen: CarillonEvent[] = [];
  client.on(type, (each) => seen.push(each));
  return seen;
}

const ids = (events: CarillonEvent[]): string[] => events.map(({ id }) => id);

test("events come in order to those who want them, until they do not any more", () =>
  withEdge([stream(connected(0), event(1, "order.created"), event(2, "job.done"), event(3, "order.paid"))], async (edge) => {
    const client = edge.connect();
    const [all, orders, jobs] = [collect(client), collect(client, "order.*"), collect(client, "job.done")];
    const gone: CarillonEvent[] = [];
    client.on("*", (each) => gone.push(each))();
    await until(() => all.length === 3);
    assert.deepEqual([ids(all), ids(orders), ids(jobs), gone], [["1", "2", "3"], ["1", "3"], ["2"], []]);
    assert.deepEqual([client.cursor, client.status, client.user, client.sharing], ["log.3", "live", "alice", "alone"]);
  }));

test("a stream that breaks is resumed where it was", () => {
  const [breaking, breakIt] = breakable(connected(0), event(1, "a.b"));
  return withEdge(
    [breaking, stream(connected(1), event(2, "a.b"))],
    async (edge) => {
      const client = edge.connect({ from: "earliest" });
      const seen = collect(client);
      await until(() => seen.length === 1);
      breakIt();
      await until(() => seen.length === 2);
      assert.deepEqual(ids(seen), ["1", "2"]);
      assert.deepEqual(edge.requests.map(({ headers }) => headers["last-event-id"]), ["earliest", "log.1"]);
    },
  );
});

test("handlers that throw are reported, and keep nothing from anybody", (context) =>
  withEdge([stream(connected(0), event(1, "a.b"), event(2, "a.b"))], async (edge) => {
    const reported = context.mock.method(console, "error", () => undefined);
    const client = edge.connect();
    client.on("*", () => {
      throw new Error("of the page");
    });
    client.onStatus(() => {
      throw new Error("of the page, too");
    });
    const seen = collect(client);
    await until(() => seen.length === 2);
    assert.equal(reported.mock.callCount(), 3);
    assert.equal(client.status, "live");
  }));

test("a client closed by a handler hands on nothing more", () =>
  withEdge([stream(connected(0), event(1, "a.b"), event(2, "a.b"))], async (edge) => {
    const client = edge.connect();
    const seen = collect(client);
    client.on("*", () => client.close());
    await until(() => client.status === "stopped");
    await new Promise((resolve) => setTimeout(resolve, 30));
    assert.deepEqual([ids(seen), client.situation.reason, client.cursor], [["1"], "closed", "log.1"]);
  }));

const UNREADABLE = ["{not json", "5", "null", "[1]", ""];

test("an event that cannot be read comes as its text, and its place counts", () =>
  withEdge([stream(connected(0), ...UNREADABLE.map((data, at) => frame("a.b", data, `log.${at + 1}`)))], async (edge) => {
    const client = edge.connect();
    const seen = collect(client, "a.b");
    await until(() => seen.length === UNREADABLE.length);
    assert.deepEqual(seen.map(({ data, broken, type }) => [data, broken, type]), UNREADABLE.map((each) => [each, true, "a.b"]));
    assert.equal(client.cursor, "log.5");
  }));

test("an event that does not say its type has that of its frame", () =>
  withEdge([stream(connected(0), frame("a.b", { id: "1" }, "log.1"))], async (edge) => {
    const seen = collect(edge.connect(), "a.b");
    await until(() => seen.length === 1);
    assert.deepEqual(seen, [{ id: "1", type: "a.b" }]);
  }));

test("frames without a place come by their name only, known or not", () =>
  withEdge([stream(connected(0), frame("inbox.changed", { counts: { unread: 3 } }), frame("news", "{"), event(1, "a.b"))], async (edge) => {
    const client = edge.connect();
    const [all, inbox, news] = [collect(client), collect(client, "inbox.changed"), collect(client, "news")];
    await until(() => all.length === 1);
    assert.deepEqual(ids(all), ["1"]);
    assert.deepEqual(inbox.map(({ data }) => data), [{ counts: { unread: 3 } }]);
    assert.deepEqual(news.map(({ data, broken }) => [data, broken]), [["{", true]]);
  }));

test("a reset is told with its reason, and the stream goes on behind it", () =>
  withEdge(
    [stream(connected(9), frame("reset", { reason: "history-trimmed", cursor: "log.9" }, "log.9"), event(10, "a.b"))],
    async (edge) => {
      const client = edge.connect({ from: "log.2" });
      const [resets, seen] = [collect(client, "reset"), collect(client)];
      await until(() => seen.length === 1);
      assert.deepEqual(resets.map(({ data }) => data), [{ reason: "history-trimmed", cursor: "log.9" }]);
    },
  ));

const TROUBLES = {
  "no-event-stream": LOGIN_PAGE,
  "500": text(500, "text/html", "<h1>Oops</h1>"),
  "502": text(502, "text/plain", "bad gateway"),
  "404": text(404, "text/html", "not deployed yet"),
  "503": problem(503, "the edge drains"),
  unreachable: (_request: unknown, response: { destroy(): void }) => void response.destroy(),
};

for (const [reason, trouble] of Object.entries(TROUBLES)) {
  test(`after ${reason} it says so, comes back, and has lost nothing`, () =>
    withEdge([trouble, stream(connected(0), event(1, "a.b"))], async (edge) => {
      const client = edge.connect({ from: "log.0" });
      const seen = collect(client);
      const reasons: (string | undefined)[] = [];
      client.onStatus((situation) => reasons.push(situation.reason));
      await until(() => reasons.length > 0);
      client.reconnect();
      await until(() => seen.length === 1);
      assert.equal(reasons[0], reason);
      assert.equal(client.status, "live");
    }));
}

test("Retry-After is waited for", () =>
  withEdge([problem(503, "busy", { "Retry-After": "1" }), stream(connected(0))], async (edge) => {
    const began = performance.now();
    const client = edge.connect();
    await until(() => client.status === "live");
    assert.ok(performance.now() - began > 1_000);
  }));

test("204 ends it for good", () =>
  withEdge([(_request, response) => void response.writeHead(204).end()], async (edge) => {
    const client = edge.connect();
    await until(() => client.status === "stopped");
    assert.equal(client.situation.reason, "ended");
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(edge.requests.length, 1);
  }));

test("a refusal of Carillon's own ends it, with the reason for people", () =>
  withEdge([problem(403, "topic 'x' is not granted")], async (edge) => {
    const client = edge.connect({ topics: ["x"] });
    await until(() => client.status === "stopped");
    assert.deepEqual(client.situation, { status: "stopped", reason: "refused", detail: "topic 'x' is not granted" });
    assert.equal(edge.requests[0]!.url, "/v1/events?topics=x");
  }));

test("nobody signed in: the app's token opens a session", () =>
  withEdge(
    [problem(401, "no session"), stream(connected(0))],
    async (edge) => {
      const client = edge.connect({ token: async () => "the token" });
      await until(() => client.status === "live");
      const post = edge.requests.find(({ method }) => method === "POST");
      assert.equal(post!.headers.authorization, "Bearer the token");
    },
    (request, response) => {
      const answer = request.method === "POST" ? json(200, { sub: "alice", expires_in: 60 }) : problem(401, "no session");
      answer(request, response);
    },
  ));

for (const [name, token] of [
  ["has no token", async () => null],
  ["is not there", undefined],
] as const) {
  test(`nobody signed in, and the app ${name}: expired`, () =>
    withEdge(
      [problem(401, "no session")],
      async (edge) => {
        const client = edge.connect(token ? { token } : {});
        await until(() => client.status === "expired");
        assert.equal(client.situation.reason, "signed-out");
      },
      problem(401, "no session"),
    ));
}

test("an app whose token cannot be had now is not taken for one that has none", () =>
  withEdge(
    [problem(401, "no session")],
    async (edge) => {
      const client = edge.connect({
        token: () => {
          throw new Error("the app's own server is away");
        },
      });
      await until(() => client.status === "offline");
      assert.equal(client.situation.reason, "unreachable");
    },
    problem(401, "no session"),
  ));

test("a session that is the answer of a login page is no session, and no sign-out", () =>
  withEdge(
    [problem(401, "no session")],
    async (edge) => {
      const client = edge.connect();
      await until(() => client.status === "offline");
      assert.equal(client.situation.reason, "unreachable");
    },
    LOGIN_PAGE,
  ));

test("another user's stream is not shown", () => {
  const [breaking, breakIt] = breakable(connected(0), event(1, "a.b"));
  return withEdge(
    [breaking, stream(connected(1, "bob"), event(2, "secret.of.bob"))],
    async (edge) => {
      const client = edge.connect();
      const seen = collect(client);
      await until(() => seen.length === 1);
      breakIt();
      await until(() => client.status === "expired");
      assert.deepEqual([ids(seen), client.situation.reason], [["1"], "other-user"]);
    },
  );
});

test("a fetch of the page's that throws is a request that failed", () =>
  withEdge([stream(connected(0))], async (edge) => {
    let isBroken = true;
    const client = edge.connect({
      fetch: (input, init) => {
        if (isBroken && String(input).endsWith("/v1/events")) throw new Error("of the page");
        return fetch(input, init);
      },
    });
    await until(() => client.status === "offline");
    isBroken = false;
    client.reconnect();
    await until(() => client.status === "live");
  }));

test("a token that never comes keeps the client from nothing", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  let isAsked = false;
  const token = (): Promise<string> => {
    isAsked = true;
    return new Promise(() => undefined);
  };
  const asking = ask(async () => new Response("", { status: 401 }), token);
  while (!isAsked) await new Promise((resolve) => setImmediate(resolve));
  context.mock.timers.tick(30_000);
  assert.deepEqual(await asking, { is: "unknown" });
});
