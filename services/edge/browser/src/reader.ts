// One request for a stream, over fetch: its answer, its bytes and its end as inputs of the connection.

import { retryAfterOf } from "./backoff.js";
import type { Answer, Input } from "./connection.js";
import type { Place } from "./cursor.js";
import { EventStreamParser } from "./parser.js";
import type { Request } from "./session.js";

/** Opens the stream; returns what ends it. After that, `tell` is not called any more. */
export function read(request: Request, path: string, cursor: Place, tell: (input: Input) => void): () => void {
  const ended = new AbortController();
  const say = (input: Input): void => {
    if (!ended.signal.aborted) tell(input);
  };
  let reason: "unreachable" | "cut" = "unreachable";
  const headers: Record<string, string> = { Accept: "text/event-stream" };
  if (cursor !== null) headers["Last-Event-ID"] = cursor;
  request(path, { headers, signal: ended.signal })
    .then(async (response) => {
      const answer = await answerOf(response);
      reason = "cut";
      say({ is: "answered", answer });
      if (answer.isStream && response.body) await readBody(response.body, say);
      else ended.abort();
    })
    .catch(() => undefined)
    .then(() => say({ is: "ended", reason }));
  return () => ended.abort();
}

async function answerOf(response: Response): Promise<Answer> {
  const type = response.headers.get("Content-Type") ?? "";
  return {
    status: response.status,
    isStream: response.status === 200 && /^text\/event-stream *(;|$)/i.test(type),
    retryAfterMs: retryAfterOf(response),
    problem: /^application\/problem\+json/i.test(type) ? await detailOf(response) : undefined,
  };
}

async function detailOf(response: Response): Promise<string> {
  const { detail, title } = (await response.json().catch(() => ({}))) as Record<string, unknown>;
  return String(detail ?? title ?? response.status);
}

async function readBody(body: ReadableStream<Uint8Array>, say: (input: Input) => void): Promise<void> {
  const parser = new EventStreamParser();
  const reader = body.getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    say({ is: "heard", now: Date.now() });
    for (const frame of parser.push(value)) say({ is: "frame", frame });
  }
}
