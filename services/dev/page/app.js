// The demo page: signs in as a demo user, shows the user's stream, publishes. It uses nothing but the
// public API, except for the demo token, which stands for your own login.

const $ = (id) => document.getElementById(id);
const SHOWN_MAX = 200; // the page keeps what a person can look at, not the log

let source = null;
let count = 0;

async function signIn(user) {
  const token = await (await fetch(`/dev/token?user=${encodeURIComponent(user)}`)).text();
  const answer = await fetch("/v1/session", { method: "POST", headers: { Authorization: `Bearer ${token}` } });
  if (!answer.ok) throw new Error((await answer.json()).detail);
}

// EventSource shows named events only to listeners of that name, and the page wants them all: so it
// reads the stream itself. The browser client of Carillon will do this better; see docs/protocol.md.
class Stream {
  constructor(onFrame, onState) {
    this.cursor = null;
    this.retryMs = 2000;
    this.stopped = new AbortController();
    this.run(onFrame, onState);
  }

  close() { this.stopped.abort(); }

  async run(onFrame, onState) {
    while (!this.stopped.signal.aborted) {
      onState("connecting");
      try {
        await this.read(onFrame, onState);
      } catch (error) {
        if (this.stopped.signal.aborted) return;
        if (error.status === 401) return onState("offline", "signed out");
      }
      onState("offline", "reconnecting");
      await new Promise((resolve) => setTimeout(resolve, this.retryMs * (0.5 + Math.random() / 2)));
    }
  }

  async read(onFrame, onState) {
    // Without a cursor of its own the page asks for all that is kept, so that a reload shows it again.
    const headers = { "Last-Event-ID": this.cursor ?? "earliest" };
    const answer = await fetch("/v1/events", { headers, signal: this.stopped.signal, cache: "no-store" });
    if (!answer.ok) throw Object.assign(new Error(answer.statusText), { status: answer.status });
    onState("live");
    let rest = "";
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) this.take(block, onFrame);
    }
  }

  take(block, onFrame) {
    const frame = { event: "message", data: [] };
    for (const line of block.split("\n")) {
      const [, name, text] = /^([^:]*):? ?(.*)$/.exec(line);
      if (name === "id") this.cursor = frame.id = text;
      else if (name === "event") frame.event = text;
      else if (name === "data") frame.data.push(text);
      else if (name === "retry") this.retryMs = Number(text);
    }
    if (frame.data.length) onFrame({ ...frame, data: frame.data.join("\n") });
  }
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function showFrame({ id, event, data }) {
  if (id) $("cursor").textContent = id;
  if (event === "connected") return;
  const item = event === "reset" || event === "closing" ? notice(event, JSON.parse(data)) : card(id, JSON.parse(data));
  $("events").prepend(item);
  $("empty").hidden = true;
  while ($("events").children.length > SHOWN_MAX) $("events").lastElementChild.remove();
}

function notice(event, about) {
  const what = event === "reset" ? "History is gone; showing what comes from now on" : "The server ended the stream";
  return element("li", "notice", `${what} (${about.reason})`);
}

function card(cursor, event) {
  const item = element("li");
  item.dataset.cursor = cursor;
  item.dataset.id = event.id;
  const head = element("div", "head");
  head.append(element("span", "type", event.type), element("span", "meta", `#${cursor.split(".").pop()}`));
  if (event.subject) head.append(element("span", "meta", event.subject));
  const details = element("details");
  details.append(element("summary", "", preview(event)), element("pre", "", JSON.stringify(event, null, 2)));
  item.append(head, element("div", "meta", `${event.source} · trace ${(event.traceparent ?? "").split("-")[1] ?? "none"}`), details);
  $("count").textContent = ++count;
  return item;
}

function preview(event) {
  const text = JSON.stringify(event.data ?? null);
  return text.length > 90 ? `${text.slice(0, 90)}…` : text;
}

function clearStream() {
  $("events").replaceChildren();
  $("count").textContent = count = 0;
  $("cursor").textContent = "none";
  $("empty").hidden = false;
}

function showState(state, detail) {
  $("status").dataset.state = state;
  $("status").textContent = detail ?? state;
}

async function follow(user) {
  source?.close();
  clearStream();
  showCurl(user);
  try {
    await signIn(user);
    source = new Stream(showFrame, showState);
  } catch (error) {
    showState("offline", `cannot sign in: ${error.message}`);
    setTimeout(() => user === $("user").value && follow(user), 2000);
  }
}

async function publish(form) {
  const attributes = {
    specversion: "1.0", id: crypto.randomUUID(), source: "/demo/page", type: form.type.value,
    time: new Date().toISOString(), datacontenttype: "application/json", data: JSON.parse(form.data.value || "null"),
  };
  if (form.audience.value.trim()) attributes.audience = form.audience.value.trim().split(/\s+/).join(" ");
  if (form.subject.value) attributes.subject = form.subject.value;
  const answer = await fetch("/v1/events", {
    method: "POST",
    headers: { Authorization: "Bearer dev", "Content-Type": "application/cloudevents+json" },
    body: JSON.stringify(attributes),
  });
  const body = await answer.json();
  if (!answer.ok) throw new Error(`${body.field ?? body.title}: ${body.detail}; ${body.fix ?? ""}`);
  return body;
}

function say(text, bad) {
  $("outcome").textContent = text;
  $("outcome").toggleAttribute("data-bad", bad);
}

function showCurl(user) {
  $("curl").textContent =
    `curl ${location.origin}/v1/events -H 'Authorization: Bearer dev' \\\n` +
    `  -H 'Content-Type: application/cloudevents+json' \\\n` +
    `  -d '{"specversion":"1.0","id":"'$(date +%s%N)'","source":"/shell","type":"greeting.sent","audience":"user:${user}","data":{"text":"Hello from the shell"}}'`;
}

async function offerSamples() {
  const { samples } = await (await fetch("/dev/samples.json")).json();
  for (const sample of samples) {
    const button = element("button", "quiet", sample.type.replace("com.github.", ""));
    button.type = "button";
    button.title = `A real GitHub webhook, to ${sample.to}`;
    button.onclick = () => {
      $("type").value = sample.type;
      $("audience").value = sample.to;
      $("subject").value = sample.subject ?? "";
      $("data").value = JSON.stringify(sample.data, null, 1);
    };
    $("samples").append(button);
  }
}

$("publish").addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  try {
    const { accepted } = await publish(submitted.target.elements);
    say(`accepted ${accepted[0].id}`, false);
  } catch (error) {
    say(error.message, true);
  }
});
$("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText($("curl").textContent);
  $("copy").textContent = "Copied";
  setTimeout(() => ($("copy").textContent = "Copy"), 1500);
});
$("user").addEventListener("change", () => {
  sessionStorage.setItem("user", $("user").value);
  follow($("user").value);
});
$("user").value = sessionStorage.getItem("user") ?? "alice";
offerSamples();
follow($("user").value);
