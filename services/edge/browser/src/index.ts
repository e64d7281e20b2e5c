export { connect, type Client, type EventHandler, type Options } from "./client.js";
export type { CarillonEvent, Delivery } from "./event.js";
export type { Unsubscribe } from "./handlers.js";
export type { TokenSource } from "./session.js";
export type { Situation, Status } from "./situation.js";
