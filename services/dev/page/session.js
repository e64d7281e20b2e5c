// Who is signed in. The demo token stands for what your own backend would give its user.

export const USERS = ["alice", "bob"];

export async function signedIn() {
  const answer = await fetch("/v1/session", { cache: "no-store" });
  return answer.ok ? (await answer.json()).sub : null;
}

export async function signIn(user) {
  const token = await (await fetch(`/dev/token?user=${encodeURIComponent(user)}`)).text();
  const answer = await fetch("/v1/session", { method: "POST", headers: { Authorization: `Bearer ${token}` } });
  if (!answer.ok) throw new Error((await answer.json()).detail);
}

export const signOut = () => fetch("/v1/session", { method: "DELETE" });
