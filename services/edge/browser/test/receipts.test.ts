import assert from "node:assert/strict";
import test from "node:test";
import { Receipts } from "../src/receipts.js";

const event = (flags: string) => ({ specversion: "1.0", id: "1", source: "/t", type: "a.b", traceparent: `00-1-2-${flags}` });

test("traced events are told, together and once, with the time since they came", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const sent: unknown[] = [];
  const receipts = new Receipts((_path, init) => (sent.push(JSON.parse(String(init!.body))), Promise.reject(new Error("gone"))));
  receipts.note(event("01"), "log.1");
  receipts.note(event("00"), "log.2");
  receipts.note({ specversion: "1.0", id: "1", source: "/t", type: "a.b" }, "log.3");
  context.mock.timers.tick(2_000);
  receipts.note(event("03"), "log.4");
  context.mock.timers.tick(3_000);
  assert.deepEqual(sent, [{ received: [{ cursor: "log.1", ago_ms: 5_000 }, { cursor: "log.4", ago_ms: 3_000 }] }]);
  context.mock.timers.tick(60_000);
  assert.equal(sent.length, 1);
  receipts.note(event("01"), "log.5");
  context.mock.timers.tick(5_000);
  assert.equal(sent.length, 2);
});

test("of more than the edge takes at once the first are told", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const sent: { received: unknown[] }[] = [];
  const receipts = new Receipts(async (_path, init) => (sent.push(JSON.parse(String(init!.body))), new Response()));
  for (let number = 0; number < 500; number++) receipts.note(event("01"), `log.${number}`);
  context.mock.timers.tick(5_000);
  assert.equal(sent[0]!.received.length, 100);
});
