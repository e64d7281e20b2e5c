// The life of one connection to the edge: what to do next, whatever happens. Pure: it knows no network and no clock.
//
//   idle ──ask──> asking ──> open request ──> open ──> over
//                   ^   \       |    ^          |
//                   |    v      v    |          |
//                   └── waiting <────┴──────────┘

import { backoffMs, RETRY_MS, WAIT_MAX_MS } from "./backoff.js";
import { covers, isPlace, type Place } from "./cursor.js";
import type { Frame } from "./parser.js";
import type { Situation, Status } from "./situation.js";

/** Who the browser's session belongs to. */
export interface Session {
  user: string;
  expiresIn: number;
}

/** The answer to a request for a stream; of one that is none, what is known. */
export interface Answer {
  status: number;
  isStream: boolean;
  retryAfterMs?: number | undefined;
  /** The `detail` of a problem document: then Carillon itself said no, and not something on the way. */
  problem?: string | undefined;
}

export type Input =
  | { is: "ask"; withToken: boolean } // find out who is signed in; with a new token of the app, where it has one
  | { is: "open" } // open a stream from the cursor
  | { is: "close" }
  | { is: "answered"; answer: Answer }
  | { is: "heard"; now: number } // bytes came
  | { is: "frame"; frame: Frame }
  | { is: "ended"; reason: "unreachable" | "cut" } // no answer, or the end of the stream
  | { is: "asked"; session: Session | null } // null: signed out
  | { is: "unknown"; retryAfterMs?: number | undefined } // nobody could say who is signed in
  | { is: "retry" } // the wait is over
  | { is: "renew" }
  | { is: "tick"; now: number } // about once in a heartbeat, while a request is open
  | { is: "woken"; now: number } // back online, visible again, or restored
  | { is: "lost" } // the browser says that the network is gone
  | { is: "replaced" }; // somebody else has signed in

export type Effect =
  | { do: "ask"; withToken: boolean }
  | { do: "known"; session: Session } // the outcome of `ask`
  | { do: "open"; cursor: Place }
  | { do: "cancel" } // of the request that is open, if there is one
  | { do: "wait"; timer: "retry" | "renew"; ms: number }
  | { do: "show"; situation: Situation }
  // Everything of the user's after `after` and up to `cursor` is this event, or where there is no name, nothing.
  | { do: "item"; after: Place; cursor: string; name?: string; data?: string }
  | { do: "reset"; after: Place; cursor: string; data: string }
  | { do: "signal"; name: string; data: string }; // a frame without a place in the log

// Until a stream has told its own.
const HEARTBEAT_MS = 15_000;
const SILENT_BEATS = 3;
// Who wakes up does not wait for that many: after sleep the other end is usually gone.
const STALE_BEATS = 1.5;
// A renewal that brought less than this was none: the token behind the session is at its end.
const RENEWED_S = 5;
const RENEW_AGAIN_S = 1;

export class Connection {
  #phase: "idle" | "asking" | "opening" | "open" | "waiting" | "over" = "idle";
  #aim: "ask" | "open" = "ask";
  /** What was told last; nothing is told twice. */
  situation: Situation = { status: "connecting" };
  #failures = 0;
  #retryMs = RETRY_MS;
  #mustWait = false;
  #wasRefused = false;
  #withToken = true;
  #heartbeatMs = HEARTBEAT_MS;
  #heardAt: number | undefined;
  #head: Place = null;
  #announcedS = 0;

  /**
   * @param cursor where to begin
   * @param user whose events are wanted; of null, whoever is signed in
   */
  constructor(
    public cursor: Place,
    public user: string | null,
    private readonly random: () => number,
  ) {}

  get heartbeatMs(): number {
    return this.#heartbeatMs;
  }

  take(input: Input): Effect[] {
    switch (input.is) {
      case "ask":
        this.#aim = "ask";
        return [...this.#show("connecting"), ...this.#whoIsThere(input.withToken)];
      case "open":
        this.#aim = "open";
        return this.#open();
      case "close":
        this.#phase = "idle";
        return [{ do: "cancel" }];
      case "replaced":
        return this.#over("expired", "other-user");
      case "asked":
        return this.#asked(input.session);
      case "retry":
        return this.#phase === "waiting" ? this.#again() : [];
      case "woken":
        return this.#woken(input.now);
      case "unknown":
        if (this.#phase === "asking") return this.#failed("unreachable", input.retryAfterMs);
        return this.#phase === "open" ? this.#renewAfter(this.#announcedS / 2) : [];
      default:
        return this.#phase === "opening" || this.#phase === "open" ? this.#streaming(input) : [];
    }
  }

  #streaming(input: Input): Effect[] {
    switch (input.is) {
      case "answered":
        return this.#answered(input.answer);
      case "heard":
        this.#heardAt = input.now;
        return [];
      case "frame":
        return this.#frame(input.frame);
      case "ended":
        return this.#failed(input.reason);
      case "tick":
        if (this.#quietMs(input.now) <= SILENT_BEATS * this.#heartbeatMs) {
          if (this.#phase === "open") this.#failures = 0;
          return [];
        }
        return [...this.#show("offline", "silent"), ...this.#open()];
      case "lost":
        // Not believed: a server on this machine is still there. The next answer tells.
        return this.#open();
      case "renew":
        return [{ do: "ask", withToken: false }];
      default:
        return [];
    }
  }

  // Requests.

  #open(): Effect[] {
    this.#phase = "opening";
    this.#heardAt = undefined;
    return [{ do: "cancel" }, { do: "open", cursor: this.cursor }];
  }

  #again(): Effect[] {
    return this.#aim === "open" ? this.#open() : this.#whoIsThere(this.#withToken);
  }

  #answered({ status, isStream, retryAfterMs, problem }: Answer): Effect[] {
    if (status === 200 && isStream) {
      this.#phase = "open";
      return [];
    }
    if (status === 204) return this.#over("stopped", "ended");
    if (status === 401) {
      this.#wasRefused = !this.#wasRefused;
      // Refused with a session that was there a moment ago: not in a circle without a pause.
      return this.#wasRefused ? this.#whoIsThere(this.#withToken) : this.#failed("unauthorized");
    }
    if (status < 300) return this.#failed("no-event-stream");
    const mayPass = status >= 500 || [408, 425, 429].includes(status) || problem === undefined;
    return mayPass ? this.#failed(String(status), retryAfterMs, problem) : this.#over("stopped", "refused", problem);
  }

  #failed(reason: string, retryAfterMs?: number, detail?: string): Effect[] {
    this.#failures++;
    const ms = (retryAfterMs ?? 0) + backoffMs(this.#failures, this.#retryMs, this.random());
    return this.#wait(reason, ms, retryAfterMs !== undefined, detail);
  }

  #wait(reason: string, ms: number, mustWait: boolean, detail?: string): Effect[] {
    this.#phase = "waiting";
    this.#mustWait = mustWait;
    return [
      { do: "cancel" },
      { do: "wait", timer: "retry", ms },
      ...this.#show("offline", reason, { retryInMs: ms, ...(detail === undefined ? {} : { detail }) }),
    ];
  }

  #over(status: "expired" | "stopped", reason: string, detail?: string): Effect[] {
    this.#phase = "over";
    return [{ do: "cancel" }, ...this.#show(status, reason, detail === undefined ? {} : { detail })];
  }

  #woken(now: number): Effect[] {
    // What a server asked to be left alone for holds for everybody.
    if (this.#phase === "waiting") return this.#mustWait ? [] : this.#again();
    if (this.#phase !== "open" && this.#phase !== "opening") return [];
    return this.#quietMs(now) > STALE_BEATS * this.#heartbeatMs ? this.#open() : [];
  }

  /** By the wall clock, which goes on in sleep. Where it was set back, silence is counted from now. */
  #quietMs(now: number): number {
    if (this.#heardAt === undefined || this.#heardAt > now) this.#heardAt = now;
    return now - this.#heardAt;
  }

  // The session.

  #whoIsThere(withToken: boolean): Effect[] {
    this.#phase = "asking";
    this.#withToken = withToken;
    return [{ do: "cancel" }, { do: "ask", withToken }];
  }

  #asked(session: Session | null): Effect[] {
    if (this.#phase !== "asking" && this.#phase !== "open") return [];
    // Signed out while a stream is open: the server is about to say so.
    if (session === null) return this.#phase === "open" ? [] : this.#over("expired", "signed-out");
    if (!this.#isFor(session.user)) return this.#over("expired", "other-user");
    if (this.#phase === "open") return this.#renewed(session);
    this.#withToken = true;
    if (this.#aim === "open") return this.#open();
    this.#phase = "idle";
    this.#failures = 0;
    return [{ do: "known", session }];
  }

  #isFor(user: string): boolean {
    this.user ??= user;
    return this.user === user;
  }

  #renewed(session: Session): Effect[] {
    // An open stream ends with the session that it was opened with.
    if (session.expiresIn > this.#announcedS + RENEWED_S) return this.#open();
    return this.#renewAfter(session.expiresIn / 2);
  }

  #renewAfter(seconds: number): Effect[] {
    this.#announcedS = seconds;
    return seconds < RENEW_AGAIN_S ? [] : [{ do: "wait", timer: "renew", ms: seconds * 1000 }];
  }

  // Frames.

  #frame(frame: Frame): Effect[] {
    this.#retryMs = Math.min(WAIT_MAX_MS, frame.retry ?? this.#retryMs);
    const { name, data, id } = frame;
    if (data === undefined && !id) return [];
    if (name === "closing") return this.#closing(parsed(data));
    if (name === "connected" && !this.#connected(parsed(data))) return this.#over("expired", "other-user");
    const effects: Effect[] = [];
    // A stream that begins elsewhere than asked goes on to say why, in a `reset`: until then nothing has moved.
    if (name === "connected" && isPlace(this.cursor)) return this.#arrived(name);
    if (id) effects.push(this.#moved(name, data, id));
    else if (data !== undefined) effects.push({ do: "signal", name, data });
    if (name === "session-expiring") effects.push(...this.#expiring(parsed(data)));
    return [...effects, ...this.#arrived(name)];
  }

  #moved(name: string, data: string | undefined, cursor: string): Effect {
    const after = this.cursor;
    this.cursor = cursor;
    if (name === "reset") return { do: "reset", after, cursor, data: data ?? "" };
    if (name === "connected" || data === undefined) return { do: "item", after, cursor };
    this.#failures = 0;
    return { do: "item", after, cursor, name, data };
  }

  /** False where somebody else has signed in meanwhile. */
  #connected(about: Record<string, unknown>): boolean {
    this.#wasRefused = false;
    this.#head = typeof about.head === "string" ? about.head : null;
    if (typeof about.heartbeat_s === "number") this.#heartbeatMs = about.heartbeat_s * 1000;
    return typeof about.user !== "string" || this.#isFor(about.user);
  }

  /** Tells whether the stream is still behind the head that it found when it began. */
  #arrived(name: string): Effect[] {
    if (this.#head !== null && (name === "reset" || covers(this.cursor, this.#head))) this.#head = null;
    return this.#show(this.#head === null ? "live" : "catching-up");
  }

  #expiring(about: Record<string, unknown>): Effect[] {
    this.#announcedS = typeof about.expires_in === "number" ? about.expires_in : 0;
    return [{ do: "ask", withToken: false }];
  }

  #closing(about: Record<string, unknown>): Effect[] {
    const reason = typeof about.reason === "string" ? about.reason : "closing";
    // The server has spread these over its clients already.
    if (about.reconnect !== false) return this.#wait(reason, this.#retryMs, false);
    // The cookie may have been renewed since the stream began, or the app may have a new token. But who signed out
    // here is not signed in again behind their back.
    if (reason === "session-expired" || reason === "session-revoked") {
      return this.#whoIsThere(reason === "session-expired");
    }
    return this.#over("stopped", reason);
  }

  #show(status: Status, reason?: string, more: Partial<Situation> = {}): Effect[] {
    const before = this.situation;
    if (status === before.status && reason === before.reason && status !== "offline") return [];
    this.situation = { status, ...(reason === undefined ? {} : { reason }), ...more };
    return [{ do: "show", situation: this.situation }];
  }
}

/** The object that the text tells; an empty one where it tells none. */
function parsed(data: string | undefined): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(data ?? "");
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
