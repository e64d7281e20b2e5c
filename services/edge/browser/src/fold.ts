// The state of a stream from its events, as the edge folds it (shared/folds/streams.py). Pure.

import type { CarillonEvent } from "./event.js";

/** What is known of a job, a run, an order. */
export interface StreamState<State = any> {
  readonly subject: string;
  /** The merge patch of the events' data. */
  readonly state: State;
  /** How many events it has had; 0 before the first. */
  readonly version: number;
  readonly status: string | null;
  /** 0 to 100. */
  readonly progress: number | null;
  readonly started_at: string | null;
  readonly updated_at: string | null;
  readonly ended_at: string | null;
  readonly duration_ms: number | null;
  /** Whether it has ended: nothing more will come. */
  readonly final: boolean;
}

type Json = Record<string, unknown>;

const ENDED = ["completed", "failed", "passed", "error", "cancelled"];
const STATUSES = ["pending", "running", ...ENDED];
const STEPS_OVER = [...ENDED, "skipped"];

/** A stream before its first event. */
export function unbegun(subject: string): StreamState {
  const nothing = { status: null, progress: null, started_at: null, updated_at: null, ended_at: null, duration_ms: null };
  return { subject, state: {}, version: 0, ...nothing, final: false };
}

/** The stream with its next event; `now` stands for a time that the event does not tell, in ms since 1970. */
export function withEvent(stream: StreamState, event: CarillonEvent, now: number): StreamState {
  const version = stream.version + 1;
  if (stream.final) return { ...stream, version };
  const time = shown(event.time, now);
  const state = patched(stream.state, event.data, time);
  const status = known(state.status);
  const isFinal = includes(ENDED, status) || event.final === "true" || event.final === true;
  const started_at = stream.started_at ?? time;
  return {
    ...stream,
    state,
    version,
    status: isFinal && !includes(ENDED, status) ? "completed" : status,
    progress: typeof state.progress === "number" ? Math.max(0, Math.min(100, state.progress)) : null,
    started_at,
    updated_at: time,
    ended_at: isFinal ? time : null,
    duration_ms: isFinal ? between(started_at, time) : null,
    final: isFinal,
  };
}

/** RFC 7396. Neither argument is changed. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  // Entries, and no assignment: a member called `__proto__` is one like any other.
  const result = new Map(Object.entries(isObject(target) ? target : {}));
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) result.delete(name);
    else result.set(name, mergePatch(result.get(name), value));
  }
  return Object.fromEntries(result);
}

function patched(before: Json, patch: unknown, time: string): Json {
  if (!isObject(patch)) return before;
  const after = mergePatch(before, patch) as Json;
  for (const name of ["steps", "nodes"]) fillTimes(objectAt(before, name), objectAt(patch, name), objectAt(after, name), time);
  return after;
}

/** Completes the steps that were given a status with the times that they lack. */
function fillTimes(before: Json, patch: Json, after: Json, time: string): void {
  for (const [id, changed] of Object.entries(patch)) {
    const step = after[id];
    if (isObject(changed) && isObject(step) && "status" in changed) fillStep(objectAt(before, id), changed, step, time);
  }
}

function fillStep(before: Json, changed: Json, step: Json, time: string): void {
  if (step.status === "running") {
    // Another attempt: it begins now, and the end of the one before is not its own.
    if (includes(STEPS_OVER, before.status)) {
      for (const name of ["started_at", "ended_at", "duration_ms"]) if (!(name in changed)) delete step[name];
    }
    step.started_at ??= time;
  } else if (includes(STEPS_OVER, step.status)) {
    step.ended_at ??= time;
    const duration = between(step.started_at, step.ended_at);
    if (duration !== null) step.duration_ms ??= duration;
  }
}

const isObject = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value);
const objectAt = (value: Json, name: string): Json => (Object.hasOwn(value, name) && isObject(value[name]) ? value[name] : {});
const includes = (words: string[], word: unknown): boolean => words.includes(word as string);
const known = (status: unknown): string | null => (includes(STATUSES, status) ? (status as string) : null);

function shown(time: unknown, now: number): string {
  const told = typeof time === "string" ? Date.parse(time) : NaN;
  return new Date(Number.isNaN(told) ? now : told).toISOString();
}

function between(begin: unknown, end: unknown): number | null {
  const ms = Date.parse(String(end)) - Date.parse(String(begin));
  return Number.isNaN(ms) ? null : Math.max(0, ms);
}
