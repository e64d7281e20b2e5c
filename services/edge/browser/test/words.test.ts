// How the inbox element tells links, times and counts.

import assert from "node:assert/strict";
import test from "node:test";
import { relativeTime, safeLink, shownCount } from "../src/words.js";

const BASE = "https://shop.example/orders/7";

for (const [link, leads] of [
  ["https://a.example/x", "https://a.example/x"],
  ["http://a.example", "http://a.example/"],
  ["/orders/8", "https://shop.example/orders/8"],
  ["8?x=1#y", "https://shop.example/orders/8?x=1#y"],
  ["//a.example/x", "https://a.example/x"],
  ["javascript:alert(1)", null],
  ["JaVaScRiPt:alert(1)", null],
  [" \tjava\nscript:alert(1)", null],
  ["data:text/html,<script>alert(1)</script>", null],
  ["vbscript:x", null],
  ["blob:https://shop.example/1", null],
  ["file:///etc/passwd", null],
  ["mailto:a@b.example", null],
  ["http://", null],
  ["", null],
  [null, null],
  [7, null],
  [{ toString: () => "https://a.example" }, null],
] as const) {
  test(`the link ${JSON.stringify(link)} leads to ${leads}`, () => assert.equal(safeLink(link, BASE), leads));
}

const NOW = Date.parse("2026-03-01T12:00:00Z");

for (const [time, locale, told] of [
  ["2026-03-01T11:59:30Z", "en", "now"],
  ["2026-03-01T11:58:59Z", "en", "1 min. ago"],
  ["2026-03-01T09:00:00Z", "en", "3 hr. ago"],
  ["2026-02-28T11:00:00Z", "en", "yesterday"],
  ["2026-02-28T11:00:00Z", "de", "gestern"],
  ["2024-01-01T00:00:00Z", "en", "2 yr. ago"],
  // A clock that is off by hours.
  ["2026-03-01T19:00:00Z", "en", "now"],
  ["yesterday", "en", ""],
  // A page may say anything as its language.
  ["2026-03-01T11:59:30Z", "no such language!", relativeTime("2026-03-01T11:59:30Z", NOW)],
] as const) {
  test(`${time} in ${locale} is ${told}`, () => assert.equal(relativeTime(time, NOW, locale), told));
}

test("more than is counted is told as more", () => {
  assert.deepEqual([0, 99, 100].map((count) => shownCount(count, 99)), ["0", "99", "99+"]);
});
