// What handlers are given.

/** A CloudEvent as the edge sends it. */
export interface CarillonEvent<Data = any> {
  readonly specversion: string;
  readonly id: string;
  readonly source: string;
  readonly type: string;
  readonly subject?: string;
  readonly time?: string;
  readonly data?: Data;
  readonly traceparent?: string;
  /** Only where a frame could not be read: then `data` is its text, and `id` and `source` are empty. */
  readonly broken?: true;
  readonly [extension: string]: unknown;
}

/** What comes with an event besides itself. */
export interface Delivery {
  /** The event's place in the log; null for a frame that has none. */
  readonly cursor: string | null;
}

const nameless = (type: string): CarillonEvent => ({ specversion: "1.0", id: "", source: "", type });

/** The event that an event's frame tells. */
export function eventOf(name: string, text: string): CarillonEvent {
  const event = parsed(text);
  if (typeof event !== "object" || event === null || Array.isArray(event)) return { ...nameless(name), data: text, broken: true };
  // The edge's events say the same; where another says something else, the frame is what was asked for.
  return { ...(event as CarillonEvent), type: name };
}

/** A frame of the stream itself, such as `reset`, in the shape of an event. */
export function signalOf(name: string, text: string): CarillonEvent {
  const data = parsed(text);
  return data === undefined ? { ...nameless(name), data: text, broken: true } : { ...nameless(name), data };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
