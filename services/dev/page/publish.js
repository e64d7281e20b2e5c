// Publishing, as any producer may: CloudEvents by HTTP, with the demo's key. And the examples, which publish by themselves.

const HEADERS = { Authorization: "Bearer dev", "Content-Type": "application/cloudevents+json" };
// `?pace=0.2` runs the examples five times as fast.
const PACE = Number(new URLSearchParams(location.search).get("pace") ?? 1);

const NOTICES = [
  { title: "Build 812 passed", body: "240 tests, 3 min 12 s.", level: "success" },
  { title: "Disk almost full", body: "db-2 has 4 % left.", level: "warning" },
  { title: "Ada mentioned you", body: "“Could you have a look at the importer?”", level: "info" },
  { title: "Payment refused", body: "Order 1017: the card has expired.", level: "error", link: "/console" },
];
let noticed = 0;
let order = 1000;

/** What the buttons do, for this user. */
export const presets = (user) => [
  ["Send a notification", () => publish({ type: "notification.sent", audience: `user:${user}`, data: NOTICES[noticed++ % NOTICES.length] })],
  ["Run the workflow", () => run("workflow", user)],
  ["Run a job", () => run("job", user)],
  ["Create an order", () => publish({ type: "order.created", audience: `user:${user}`, subject: `order/${++order}`, data: { total: 12.5, items: 3 } })],
  ["Tell everyone", () => publish({ type: "notification.sent", audience: "everyone", data: { title: "Maintenance at 18:00", body: "Five minutes, and no event is lost." } })],
];

export async function publish({ audience, subject, ...attributes }) {
  const event = {
    specversion: "1.0", id: crypto.randomUUID(), source: "/demo/page", time: new Date().toISOString(),
    ...(audience && { audience }), ...(subject && { subject }), ...attributes,
  };
  const answer = await asked("/v1/events", HEADERS, event);
  return { said: `accepted: ${event.type}`, trace: answer.traceparent?.split("-")[1] };
}

async function run(program, user) {
  const { subject, command } = await asked("/dev/programs", { "Content-Type": "application/json" }, { program, user, pace: PACE });
  return { said: `started: ${subject}`, command };
}

async function asked(path, headers, body) {
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  const told = await answer.json();
  if (!answer.ok) throw new Error(`${told.field ?? told.title}: ${told.detail}; ${told.fix ?? ""}`);
  return told;
}

export const curlOf = (user) =>
  `curl ${location.origin}/v1/events -H 'Authorization: Bearer dev' \\\n` +
  `  -H 'Content-Type: application/cloudevents+json' \\\n` +
  `  -d '{"specversion":"1.0","id":"'$(date +%s%N)'","source":"/shell","type":"greeting.sent","audience":"user:${user}","data":{"text":"Hello from the shell"}}'`;
