export { connect, type Client, type EventHandler, type Options } from "./client.js";
export type { CarillonEvent, Delivery } from "./event.js";
export type { StreamState } from "./fold.js";
export type { Unsubscribe } from "./handlers.js";
export type { TokenSource } from "./session.js";
export type { Situation, Status } from "./situation.js";
export type { StreamUpdate, SubjectStream } from "./stream.js";
