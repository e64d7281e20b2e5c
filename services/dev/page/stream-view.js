// The raw stream: each event as it came, with the way to its trace; and between them what happened to the connection.

import { $, consolePage, element, positionOf } from "./dom.js";

const SHOWN_MAX = 200; // the page keeps what a person can look at, not the log

export class StreamView {
  #list = $("events");
  #count = 0;
  #waiting = [];
  /** How many have come since the connection was away; null while it is not. */
  #missed = null;

  clear() {
    this.#list.replaceChildren();
    this.#waiting = [];
    this.#missed = null;
    $("count").textContent = this.#count = 0;
    $("empty").hidden = false;
  }

  event(event, cursor) {
    // Known now: it may be drawn much later, where the page is out of sight.
    const isMissed = this.#missed !== null;
    if (isMissed) this.#missed++;
    $("count").textContent = ++this.#count;
    this.#add(() => this.#drawn(event, cursor, isMissed));
  }

  /** The connection is away, since this place. */
  away(cursor, why) {
    if (this.#missed !== null || cursor === null) return;
    this.#missed = 0;
    this.#note("away", `Offline after ${positionOf(cursor)} (${why})`);
  }

  /** It is back, and everything that it had missed has come. */
  back() {
    if (this.#missed === null) return;
    const missed = this.#missed === 1 ? "1 event" : `${this.#missed} events`;
    this.#missed = null;
    this.#note("back", `Resumed: ${missed} came from the log`);
  }

  reset(reason) {
    this.#note("away", `History is gone (${reason}); what comes from now on is shown`);
  }

  #note(kind, text) {
    this.#add(() => element("li", { class: `note ${kind}`, text }));
  }

  /** What comes together, as after a reload, is drawn together. */
  #add(draw) {
    if (this.#waiting.push(draw) === 1) requestAnimationFrame(() => this.#flush());
    if (this.#waiting.length > SHOWN_MAX) this.#waiting.shift();
  }

  #flush() {
    const drawn = this.#waiting.splice(0).map((draw) => draw());
    $("empty").hidden ||= drawn.length > 0;
    this.#list.prepend(...drawn.reverse());
    while (this.#list.children.length > SHOWN_MAX) this.#list.lastElementChild.remove();
  }

  #drawn(event, cursor, isMissed) {
    const head = element("summary", {},
      element("span", { class: "position", text: positionOf(cursor) }),
      element("span", { class: "type", text: event.type }),
      element("span", { class: "about", text: event.subject ?? event.source }));
    const raw = `id: ${cursor}\nevent: ${event.type}\ndata: ${JSON.stringify(event, null, 2)}`;
    const details = element("details", {}, head, element("pre", { text: raw, tabindex: "0" }));
    const item = element("li", { "data-id": event.id, ...(isMissed && { class: "missed" }) }, details);
    const trace = event.traceparent?.split("-")[1];
    if (trace) item.append(traceLink(trace, consolePage(cursor)));
    return item;
  }
}

export function traceLink(trace, href) {
  return element("a", { class: "trace", href, target: "_blank", title: "Its journey, in the console", text: `trace ${trace.slice(0, 8)}…` });
}
