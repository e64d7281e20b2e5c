import assert from "node:assert/strict";
import test from "node:test";
import fc from "./examples.js";
import { backoffMs, retryAfterOf } from "../src/backoff.js";

const BOUNDS: [failures: number, retryMs: number, atMost: number][] = [
  [1, 2000, 4000],
  [2, 2000, 8000],
  [4, 2000, 30_000],
  [1000, 2000, 30_000],
  [1, 0, 200],
  [9, 45_000, 45_000],
];

test("the bound doubles with each failure, up to a cap that no retry of the server's is over", () => {
  for (const [failures, retryMs, atMost] of BOUNDS) assert.equal(backoffMs(failures, retryMs, 1), atMost);
});

test("jitter is full: anything from nothing to the bound", () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1, noNaN: true }), fc.nat({ max: 50 }), (random, failures) => {
      assert.equal(backoffMs(failures, 2000, random), Math.round(random * backoffMs(failures, 2000, 1)));
    }),
  );
});

const DATE = "Wed, 21 Oct 2015 07:28:00 GMT";
const AFTER: [retryAfter: string | null, date: string | null, ms: number | undefined][] = [
  [null, null, undefined],
  ["5", null, 5000],
  ["0", null, 0],
  ["99999999", null, 3_600_000],
  ["soon", DATE, undefined],
  ["-5", null, undefined],
  ["", DATE, undefined],
  // Compared with the answer's own date: this machine may believe that it is 1970.
  ["Wed, 21 Oct 2015 07:28:30 GMT", DATE, 30_000],
  ["Wed, 21 Oct 2015 07:27:00 GMT", DATE, 0],
  ["Wed, 21 Oct 2015 07:28:30 GMT", null, undefined],
];

test("Retry-After is read as seconds or as a date by the server's clock", () => {
  for (const [retryAfter, date, ms] of AFTER) {
    const given: Record<string, string | null> = { "Retry-After": retryAfter, Date: date };
    assert.equal(retryAfterOf({ headers: { get: (name) => given[name] ?? null } }), ms, String(retryAfter));
  }
});
