// Calls a running server by the library as its README says, and prints what came of each as a JSON line.
//   node call.mjs <url> <key>
import { JSONRPCClient, JSONRPCErrorException } from "json-rpc-2.0";

const [url, key] = process.argv.slice(2);

const client = new JSONRPCClient(async (request) => {
  const response = await fetch(`${url}/v1/rpc`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${key}` },
    body: JSON.stringify(request),
  });
  if (response.status === 200) {
    client.receive(await response.json());
  } else if (request.id !== undefined) {
    throw new Error(response.statusText);
  }
});

const say = (what) => console.log(JSON.stringify(what));
const note = { user: "alice", title: "Called" };

say(await client.request("notify.user", note));
client.notify("notify.user", { ...note, title: "Notified" });
try {
  await client.request("notify.user", { user: "alice" });
} catch (error) {
  say({ isException: error instanceof JSONRPCErrorException, code: error.code, message: error.message, data: error.data });
}
const batch = ["one", "two"].map((title, number) => ({
  jsonrpc: "2.0",
  id: `batch-${number}`,
  method: "notify.user",
  params: { ...note, title },
}));
say(await client.requestAdvanced(batch));
say((await client.request("rpc.discover")).methods.length);
