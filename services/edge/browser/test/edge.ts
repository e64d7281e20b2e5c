// A real HTTP server that answers as a test says, also as no edge ever should.

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { connect, type Client, type Options } from "../src/index.js";

export type Respond = (request: IncomingMessage, response: ServerResponse) => void;

/**
 * @param answers to requests for the stream, one after the other; the last is repeated
 * @param session to the question who is signed in
 * @param others by the address that theirs begin with
 */
export async function withEdge(
  answers: Respond[],
  use: (edge: Edge) => Promise<void>,
  session: Respond = json(200, { sub: "alice", expires_in: 3600 }),
  others: Record<string, Respond[]> = {},
): Promise<void> {
  const edge = new Edge({ "/v1/session": [session], "/v1/events": answers, ...others });
  await edge.listen();
  try {
    await use(edge);
  } finally {
    edge.clients.forEach((client) => client.close());
    await edge.close();
  }
}

export class Edge {
  readonly requests: IncomingMessage[] = [];
  readonly clients: Client[] = [];
  readonly #server = createServer((request, response) => this.#answer(request, response));
  readonly #asked = new Map<string, number>();

  constructor(private readonly answers: Record<string, Respond[]>) {}

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/`;
  }

  connect(options: Options = {}): Client {
    const client = connect({ url: this.url, share: false, ...options });
    this.clients.push(client);
    return client;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    this.requests.push(request);
    const path = Object.keys(this.answers).find((prefix) => request.url!.startsWith(prefix))!;
    const number = this.#asked.get(path) ?? 0;
    this.#asked.set(path, number + 1);
    const answers = this.answers[path]!;
    answers[Math.min(number, answers.length - 1)]!(request, response);
  }
}

export const text =
  (status: number, type: string, body: string, headers: Record<string, string> = {}): Respond =>
  (_request, response) => {
    response.writeHead(status, { "Content-Type": type, ...headers });
    response.end(body);
  };

export const json = (status: number, body: unknown): Respond => text(status, "application/json", JSON.stringify(body));

export const problem = (status: number, detail: string, headers: Record<string, string> = {}): Respond =>
  text(status, "application/problem+json", JSON.stringify({ title: "No", status, detail }), headers);

/** One that a test may break when it wants to: what a client has not read by then is lost with it. */
export function breakable(...frames: string[]): [Respond, () => void] {
  let breakIt = (): void => undefined;
  const respond: Respond = (request, response) => {
    stream(...frames)(request, response);
    breakIt = () => void response.destroy();
  };
  return [respond, () => breakIt()];
}

/** A stream of these frames, which is left open. */
export const stream =
  (...frames: string[]): Respond =>
  (_request, response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream; charset=utf-8" });
    response.write(frames.join(""));
  };

export function frame(name: string, data: unknown, cursor?: string): string {
  const body = typeof data === "string" ? data : JSON.stringify(data);
  return `${cursor === undefined ? "" : `id: ${cursor}\n`}event: ${name}\ndata: ${body}\n\n`;
}

export const connected = (position: number, user = "alice"): string =>
  `retry: 20\n\n${frame("connected", { user, heartbeat_s: 15, head: `log.${position}` }, `log.${position}`)}`;

export const event = (position: number, type: string, data: unknown = {}): string =>
  frame(type, { specversion: "1.0", id: String(position), source: "/test", type, data }, `log.${position}`);

/** Returns once it is so; fails after a minute: a machine that others keep busy stands still for seconds. */
export async function until(isSo: () => unknown): Promise<void> {
  for (const began = Date.now(); !isSo(); await new Promise((resolve) => setTimeout(resolve, 5))) {
    if (Date.now() - began > 60_000) throw new Error(`never: ${isSo}`);
  }
}
