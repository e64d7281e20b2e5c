// The hooks in a real React, in strict mode and on a server, with clients of a real server.

import assert from "node:assert/strict";
import test, { after } from "node:test";
import { Window } from "happy-dom";
import { act, createElement, StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { renderToString } from "react-dom/server.node";
import type { Options } from "../src/client.js";
import { type Carillon, type InboxOf, type StreamOf, useCarillon, useInbox, useStream } from "../src/react.js";
import { connected, type Edge, event, json, stream, until, withEdge } from "./edge.js";

// React's act leaves a message channel open, which would keep the process. By then all is told.
after(() => void setTimeout(() => process.exit(), 1_000));

const ITEM = {
  id: "1", title: "Build passed", body: null, link: null, level: "info", topic: null, time: "2026-01-01T00:00:00Z",
  seen: false, read: false, archived: false,
};
const RUN = {
  subject: "job/1", state: { status: "running" }, version: 1, status: "running", progress: null, started_at: null,
  updated_at: null, ended_at: null, duration_ms: null, final: false, cursor: "log.5",
};
const OTHERS = {
  "/v1/inbox/": [json(200, { counts: { unread: 0, unseen: 0, limit: 99 }, cursor: "log.5" })],
  "/v1/inbox": [json(200, { items: [ITEM], next: null, cursor: "log.5" })],
  "/v1/streams/": [json(200, RUN)],
};

interface Seen {
  carillon: Carillon;
  run: StreamOf;
  box: InboxOf;
  events: string[];
}

/** A component that uses all of them, and tells what it was given. */
function page(seen: Partial<Seen>): (props: { options: Options; subject: string | null }) => null {
  const events = (seen.events = [] as string[]);
  return ({ options, subject }) => {
    const carillon = useCarillon(options, ({ id }) => events.push(id));
    Object.assign(seen, { carillon, run: useStream(carillon.client, subject), box: useInbox(carillon.client) });
    return null;
  };
}

async function rendered(edge: Edge, use: (seen: Seen, render: (subject: string | null) => Promise<void>) => Promise<void>): Promise<void> {
  const window = new Window();
  Object.assign(globalThis, { window, document: window.document, IS_REACT_ACT_ENVIRONMENT: true });
  const seen: Partial<Seen> = {};
  const component = page(seen);
  const root = createRoot(window.document.createElement("div") as unknown as Element);
  const options = { url: edge.url, share: false };
  // Other objects with the same in them at each render, as components write them.
  const render = (subject: string | null): Promise<void> =>
    act(async () => root.render(createElement(StrictMode, null, createElement(component, { options: { ...options }, subject }))));
  try {
    await render("job/1");
    await use(seen as Seen, render);
  } finally {
    await act(async () => root.unmount());
    await window.happyDOM.close();
    for (const name of ["window", "document"]) Reflect.deleteProperty(globalThis, name);
  }
}

const eventually = (is: () => boolean): Promise<void> => act(() => until(is));

test("live, with the events, the run and the inbox; and nothing is open twice in strict mode", () => {
  return withEdge(
    [stream(connected(5), event(6, "order.created"))],
    (edge) =>
      rendered(edge, async (seen) => {
        await eventually(() => seen.carillon.situation.status === "live" && seen.box.status === "ready" && seen.run.stream !== null);
        await eventually(() => seen.events.length > 0);
        assert.deepEqual(seen.events, ["6"]);
        assert.equal(seen.carillon.user, "alice");
        assert.deepEqual(seen.box.items.map(({ title }) => title), ["Build passed"]);
        assert.equal(seen.run.stream!.status, "running");
        assert.equal(edge.requests.filter(({ url }) => url!.startsWith("/v1/events")).length, 1);
      }),
    undefined,
    OTHERS,
  );
});

test("rendering again with the same options keeps the client; another subject is another stream; null is none", () =>
  withEdge(
    [stream(connected(5))],
    (edge) =>
      rendered(edge, async (seen, render) => {
        await eventually(() => seen.run.stream !== null);
        const { client } = seen.carillon;
        await render("job/2");
        await eventually(() => edge.requests.some(({ url }) => url!.startsWith("/v1/streams/job/2")));
        await render(null);
        assert.equal(seen.carillon.client, client);
        assert.deepEqual(seen.run, { stream: null, isOver: false, error: null });
      }),
    undefined,
    OTHERS,
  ));

test("what is marked is to be seen at once; before there is a client nothing is", () =>
  withEdge(
    [stream(connected(5))],
    (edge) =>
      rendered(edge, async (seen) => {
        await eventually(() => seen.box.status === "ready");
        let answer: Promise<boolean> | undefined;
        await act(async () => void (answer = seen.box.mark("read", ["1"])));
        assert.equal(seen.box.items[0]!.read, true);
        assert.equal(await act(() => answer), true);
      }),
    undefined,
    OTHERS,
  ));

test("with the component everything ends", () =>
  withEdge(
    [stream(connected(5))],
    async (edge) => {
      let client: Carillon["client"] = null;
      await rendered(edge, async (seen) => {
        await eventually(() => seen.carillon.situation.status === "live");
        client = seen.carillon.client;
      });
      assert.deepEqual(client!.situation, { status: "stopped", reason: "closed" });
    },
    undefined,
    OTHERS,
  ));

test("on a server it says connecting, and asks nobody", () =>
  withEdge([stream(connected(5))], async (edge) => {
    const seen: Partial<Seen> = {};
    renderToString(createElement(page(seen), { options: { url: edge.url }, subject: "job/1" }));
    await new Promise((resolve) => setTimeout(resolve));
    assert.deepEqual(seen.carillon, { client: null, situation: { status: "connecting" }, user: null });
    assert.equal(seen.box!.status, "loading");
    assert.equal(edge.requests.length, 0);
  }));
