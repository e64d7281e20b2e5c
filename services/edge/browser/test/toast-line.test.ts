// Which toasts are there, and for how long: whoever reads them is not hurried.

import assert from "node:assert/strict";
import test from "node:test";
import { ToastLine } from "../src/toast-line.js";

const WHOLE_MS = 6_000;

test("a toast goes when its time is over, and the others are told how long they wait", () => {
  const line = new ToastLine();
  line.add("a", 1_000);
  line.add("b", 3_000);
  assert.equal(line.nextMs, WHOLE_MS - 2_000);
  line.pass(1_000 + WHOLE_MS);
  assert.deepEqual(line.ids, ["b"]);
  line.pass(3_000 + WHOLE_MS);
  assert.deepEqual([line.ids, line.nextMs], [[], null]);
});

test("three at once: the oldest makes room, and one that comes again is the newest", () => {
  const line = new ToastLine();
  for (const id of ["a", "b", "c", "a", "d"]) line.add(id, 0);
  assert.deepEqual(line.ids, ["c", "a", "d"]);
});

test("while somebody reads no time goes by, and afterwards each is there as long as a new one", () => {
  const line = new ToastLine();
  line.add("a", 0);
  line.hold(5_000);
  assert.equal(line.nextMs, null);
  line.pass(60_000);
  assert.deepEqual(line.ids, ["a"]);
  line.release(60_000);
  assert.equal(line.nextMs, WHOLE_MS);
});

test("what was read elsewhere is no news", () => {
  const line = new ToastLine();
  line.add("a", 0);
  line.remove("a");
  assert.deepEqual([line.ids, line.nextMs], [[], null]);
});

test("a clock that is set back brings nothing to an end", () => {
  const line = new ToastLine();
  line.add("a", 10_000);
  line.pass(0);
  assert.equal(line.nextMs, WHOLE_MS);
});
