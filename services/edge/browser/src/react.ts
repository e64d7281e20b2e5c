// Hooks for React, which the page brings itself. Everything begins in effects, and ends with them: rendering twice, as
// strict mode does, or on a server opens nothing.

import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from "react";
import { type Client, connect, type EventHandler, type Options } from "./client.js";
import { type Inbox, type InboxOptions, type InboxState, inbox } from "./inbox.js";
import type { StreamState } from "./fold.js";
import type { Situation } from "./situation.js";

export interface Carillon {
  /** To be handed to the other hooks; null until the first effect. */
  readonly client: Client | null;
  readonly situation: Situation;
  /** Whose events these are; null until that is known. */
  readonly user: string | null;
}

export interface StreamOf<State = any> {
  /** Null before it was found. */
  readonly stream: StreamState<State> | null;
  /** Whether there will be no more updates. */
  readonly isOver: boolean;
  /** Why it ended before its stream did, for a person. */
  readonly error: string | null;
}

export type InboxOf = InboxState & Pick<Inbox, "show" | "more" | "reload" | "mark">;

const CONNECTING: Situation = { status: "connecting" };
const NOT_FOUND: StreamOf = { stream: null, isOver: false, error: null };
const NOT_LOADED: InboxState = {
  status: "loading", items: [], counts: { unread: 0, unseen: 0, limit: 99 }, held: 0, hasMore: false, error: null,
};

/**
 * A client for as long as the component is there; one near the root is enough for all.
 *
 * @param options read anew where one that is no function differs: then there is another client
 * @param onEvent called with each event; may be another function at each render
 */
export function useCarillon(options: Options = {}, onEvent?: EventHandler): Carillon {
  const newest = useRef({ options, onEvent });
  // After the render that brings them has come to be.
  useEffect(() => void (newest.current = { options, onEvent }));
  const key = JSON.stringify(options);
  const client = useOpened(() => {
    const { options } = newest.current;
    // The newest of its functions, too: a token's may have closed over what has changed since.
    const opened = connect({ ...options, ...(options.token && { token: () => newest.current.options.token?.() }) });
    opened.on("*", (event, delivery) => newest.current.onEvent?.(event, delivery));
    return opened;
  }, [key]);
  const subscribe = useCallback((changed: () => void) => client?.onStatus(changed) ?? nothing, [client]);
  const situation = useSyncExternalStore(subscribe, () => client?.situation ?? CONNECTING, () => CONNECTING);
  return { client, situation, user: client?.user ?? null };
}

/** The stream of a subject, such as `job/123`, as of its last update. With null for either nothing is asked for. */
export function useStream<State = any>(client: Client | null, subject: string | null): StreamOf<State> {
  const [found, setFound] = useState<StreamOf>(NOT_FOUND);
  useEffect(() => {
    setFound(NOT_FOUND);
    if (client === null || subject === null) return undefined;
    const stream = client.stream(subject);
    const stop = [
      stream.onUpdate(() => setFound({ stream: stream.current, isOver: false, error: null })),
      stream.onEnd(() => setFound({ stream: stream.current, isOver: true, error: stream.error })),
    ];
    return () => {
      stop.forEach((each) => each());
      stream.close();
    };
  }, [client, subject]);
  return found;
}

/** The user's inbox, kept up to date, and what can be done with it. */
export function useInbox(client: Client | null, options: InboxOptions = {}): InboxOf {
  const newest = useRef(options);
  useEffect(() => void (newest.current = options));
  const box = useOpened(() => client && inbox(client, newest.current), [client, JSON.stringify(options)]);
  const subscribe = useCallback((changed: () => void) => box?.onChange(changed) ?? nothing, [box]);
  const state = useSyncExternalStore(subscribe, () => box?.state ?? NOT_LOADED, () => NOT_LOADED);
  const show = useCallback(() => box?.show(), [box]);
  const more = useCallback(async () => box?.more(), [box]);
  const reload = useCallback(async () => box?.reload(), [box]);
  const mark = useCallback<Inbox["mark"]>(async (mark, ids) => (await box?.mark(mark, ids)) ?? false, [box]);
  return { ...state, show, more, reload, mark };
}

/** What `open` makes, from the effect on until it is closed: with the component, or where `on` has changed. */
function useOpened<Opened extends { close(): void }>(open: () => Opened | null, on: readonly unknown[]): Opened | null {
  const [opened, setOpened] = useState<Opened | null>(null);
  useEffect(() => {
    const made = open();
    setOpened(made);
    return () => {
      setOpened(null);
      made?.close();
    };
  }, on);
  return opened;
}

const nothing = (): void => undefined;
