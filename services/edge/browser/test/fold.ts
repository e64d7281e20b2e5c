// node fold.mjs < [{"subject","events":[…]}, …]: the state of each stream after each of its events, as JSON.
import { readFileSync } from "node:fs";
import { type StreamState, unbegun, withEvent } from "../src/fold.js";
import type { CarillonEvent } from "../src/index.js";

const cases = JSON.parse(readFileSync(0, "utf8")) as { subject: string; events: CarillonEvent[] }[];
const folded = cases.map(({ subject, events }) => {
  let stream: StreamState = unbegun(subject);
  return events.map((event) => (stream = withEvent(stream, event, 0)));
});
process.stdout.write(JSON.stringify(folded));
