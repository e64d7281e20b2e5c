// What a client tells of itself.

export type Status = "connecting" | "live" | "catching-up" | "offline" | "expired" | "stopped";

export interface Situation {
  readonly status: Status;
  /**
   * Why, where there is more to say. Offline: `unreachable`, `cut`, `silent`, `no-event-stream`, `unauthorized`, an HTTP
   * status such as `503`, or the close reason of the server (`drain`, `slow-reader`, …). Expired: `signed-out`,
   * `other-user`. Stopped: `ended` (204), `refused`, `closed`, or a close reason that says not to come back.
   */
  readonly reason?: string;
  /** For a person: what the server said of it. */
  readonly detail?: string;
  /** Offline: how long until the next try, counted from when this was told. */
  readonly retryInMs?: number;
}

/** Whether nothing goes on by itself from here. */
export const isOver = ({ status }: Situation): boolean => status === "expired" || status === "stopped";
