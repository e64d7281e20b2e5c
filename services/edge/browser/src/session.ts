// Who is signed in: asked of the edge, and signed in again with a token of the app's where it has one.

import { retryAfterOf } from "./backoff.js";
import type { Input } from "./connection.js";

/** Gives a bearer token for the user of this page, or null where nobody is signed in to the app. */
export type TokenSource = () => string | null | undefined | Promise<string | null | undefined>;

/** Asks the edge. */
export type Request = (path: string, init?: RequestInit) => Promise<Response>;

// A page's own server may be asked for it; one that hangs must not keep the client from trying again.
const TOKEN_WITHIN_MS = 30_000;

/** Asks for the session, which renews it, and opens a new one where `token` has what it takes. Never throws. */
export async function ask(request: Request, token?: TokenSource): Promise<Input> {
  try {
    const found = await outcome(await request("/v1/session"));
    if (found.is !== "asked" || found.session !== null || !token) return found;
    const bearer = await soon(token());
    if (!bearer) return found;
    const headers = { Authorization: `Bearer ${bearer}` };
    return await outcome(await request("/v1/session", { method: "POST", headers }));
  } catch {
    return { is: "unknown" };
  }
}

function soon<Given>(given: Given | Promise<Given>): Promise<Given> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("no token in time")), TOKEN_WITHIN_MS);
    Promise.resolve(given).then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

async function outcome(response: Response): Promise<Input> {
  if (response.status === 401) return { is: "asked", session: null };
  const body = (response.ok ? await response.json() : {}) as { sub?: unknown; expires_in?: unknown };
  if (typeof body.sub === "string") {
    return { is: "asked", session: { user: body.sub, expiresIn: Number(body.expires_in) } };
  }
  return { is: "unknown", retryAfterMs: retryAfterOf(response) };
}
