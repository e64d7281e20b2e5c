// node read.mjs < [{"url":…,"types":[…],"last":…,"headers":{…}}, …]: prints what each stream dispatched, as JSON.
import { readFileSync } from "node:fs";
import { EventSource } from "eventsource";
import "./collect.js";

const streams = JSON.parse(readFileSync(0, "utf8"));
const reading = streams.map((stream) => {
  const withHeaders = (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...stream.headers } });
  return globalThis.collect(EventSource, stream, { fetch: withHeaders });
});
process.stdout.write(JSON.stringify(await Promise.all(reading)));
