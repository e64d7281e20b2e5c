// The cases of the web platform tests for the event stream format, written anew:
// https://github.com/web-platform-tests/wpt/tree/master/eventsource (format-*)

import assert from "node:assert/strict";
import test from "node:test";
import fc from "./examples.js";
import { EventStreamParser, type Frame, MAX_FRAME_CHARS } from "../src/parser.js";

const encoder = new TextEncoder();

function parse(text: string | Uint8Array, size = Infinity): Frame[] {
  const bytes = typeof text === "string" ? encoder.encode(text) : text;
  const parser = new EventStreamParser();
  const frames: Frame[] = [];
  for (let at = 0; at < bytes.length; at += Math.min(size, bytes.length)) {
    frames.push(...parser.push(bytes.subarray(at, at + size)));
  }
  return frames;
}

const message = (data: string, more: Partial<Frame> = {}): Frame => ({ name: "message", data, ...more });

const CASES: Record<string, [stream: string, frames: Frame[]]> = {
  "bom": ["\uFEFFdata:1\n\n\uFEFFdata:2\n\ndata:3\n\n", [message("1"), message("3")]],
  "bom-2": ["\uFEFF\uFEFFdata:1\n\ndata:2\n\ndata:3\n\n", [message("2"), message("3")]],
  "comments": [
    `data:1\r:\0\n:\r\ndata:2\n:${"x".repeat(2048)}\rdata:3\n:data:fail\r:${"x".repeat(2048)}\ndata:4\n\n`,
    [message("1\n2\n3\n4")],
  ],
  "data-before-final-empty-line": ["retry:1000\ndata:test1\n\nid:test\ndata:test2", [message("test1", { retry: 1000 })]],
  "field-data": ["data:\n\ndata\ndata\n\ndata:test\n\n", [message(""), message("\n"), message("test")]],
  "field-event": ["event:test\ndata:x\n\ndata:x\n\n", [{ name: "test", data: "x" }, message("x")]],
  "field-event-empty": ["event: \ndata:data\n\n", [message("data")]],
  "field-id": ["id: 1\ndata:1\n\ndata:2\n\n", [message("1", { id: "1" }), message("2")]],
  "field-id-2": [
    "id: 1\ndata:1\n\nid\ndata:2\n\nid:3\n\ndata:4\n\n",
    [message("1", { id: "1" }), message("2", { id: "" }), { name: "message", id: "3" }, message("4")],
  ],
  "field-id-null": ["id: \0\ndata:1\n\nid:a\0b\ndata:2\n\n", [message("1"), message("2")]],
  "field-parsing": [
    "data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n",
    [message("\0\n 2\n1\n3\n\n4")],
  ],
  "field-retry": ["retry:03000\ndata:x\n\n", [message("x", { retry: 3000 })]],
  "field-retry-bogus": ["retry:3000\nretry:1000x\ndata:x\n\n", [message("x", { retry: 3000 })]],
  "field-retry-empty": ["retry\ndata:test\n\n", [message("test")]],
  "field-unknown": ["data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\n\n", [message("test\n")]],
  "leading-space": ["data:\ttest\rdata: \ndata:test\n\n", [message("\ttest\n\ntest")]],
  "newlines": ["data:test\r\ndata\ndata:test\r\n\r", [message("test\n\ntest")]],
  "null-character": ["data:\0\n\n\n\n", [message("\0")]],
  "utf-8": ["data:okčöß🔔\n\n", [message("okčöß🔔")]],
  "only empty lines": ["\n\r\r\n\n", []],
  "retry alone": ["retry: 5\n\n", [{ name: "message", retry: 5 }]],
  "cut in its last line": ["id: 1\ndata: a\n\nid: 2\ndata: b\n", [message("a", { id: "1" })]],
};

for (const [name, [stream, frames]] of Object.entries(CASES)) {
  test(`format: ${name}`, () => {
    assert.deepEqual(parse(stream), frames);
    // Cut inside every character and line end.
    assert.deepEqual(parse(stream, 1), frames);
  });
}

test("bytes that are no UTF-8 become replacement characters", () => {
  const bytes = Uint8Array.from([...encoder.encode("data:"), 0xff, 0xc3, ...encoder.encode("\n\n")]);
  assert.deepEqual(parse(bytes), [message("\uFFFD\uFFFD")]);
});

test("wherever a stream is cut into pieces, the frames are the same", () => {
  const piece = fc.constantFrom("\r", "\n", "\r\n", "data", ":", " ", "event:x", "id:7", "retry:9", "é", "🔔", "\uFEFF", "\0");
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), fc.integer({ min: 1, max: 7 }), (pieces, size) => {
      const stream = `${pieces.join("")}\n\n`;
      assert.deepEqual(parse(stream, size), parse(stream));
    }),
    { numRuns: 500 },
  );
});

test("a long line in small pieces is read in time that grows with its length", () => {
  const bytes = encoder.encode(`data:${"x".repeat(900_000)}\n\n`);
  const began = performance.now();
  assert.equal(parse(bytes, 100)[0]?.data?.length, 900_000);
  assert.ok(performance.now() - began < 2_000);
});

test("a frame without end is given up before it takes the memory", () => {
  const parser = new EventStreamParser();
  const megabyte = encoder.encode("x".repeat(1024 * 1024));
  assert.throws(() => {
    for (let sent = 0; sent <= MAX_FRAME_CHARS; sent += megabyte.length) parser.push(megabyte);
  }, RangeError);
});
