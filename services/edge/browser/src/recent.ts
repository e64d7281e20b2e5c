// What a leader remembers, for tabs that come late or have missed something. Pure.

import { covers, isPlace, type Place } from "./cursor.js";

/** All of the user's between two places: one event, or where it has no name, nothing. */
export interface Item {
  after: Place;
  cursor: string;
  name?: string | undefined;
  data?: string | undefined;
}

// A tab that reloads misses a second or two. Who missed more asks the server.
export const RECENT_ITEMS = 256;
export const RECENT_CHARS = 1024 * 1024;

export class Recent {
  #items: Item[] = [];
  #chars = 0;

  /** @param from what comes after it will be here */
  constructor(private from: Place) {}

  add(item: Item): void {
    // Before the first stream has told where it begins, `from` is no place that anybody could be at.
    if (!isPlace(this.from)) this.from = item.cursor;
    if (item.data === undefined) return;
    this.#items.push(item);
    this.#chars += item.data.length;
    while (this.#items.length > RECENT_ITEMS || this.#chars > RECENT_CHARS) this.#forget(this.#items.shift()!);
  }

  /** What came after the cursor, in order; null where some of it is forgotten. */
  since(cursor: Place): Item[] | null {
    return covers(cursor, this.from) ? this.#items.filter((item) => !covers(cursor, item.cursor)) : null;
  }

  #forget(item: Item): void {
    this.from = item.cursor;
    this.#chars -= item.data!.length;
  }
}
