// The demo page. It uses nothing but the public API and the browser client; only who signs in is the demo's own.

import { $, button, element } from "./dom.js";
import { Network } from "./network.js";
import { curlOf, presets, publish } from "./publish.js";
import { RunsView } from "./runs-view.js";
import { signedIn, signIn, signOut, USERS } from "./session.js";
import { StreamView, traceLink } from "./stream-view.js";

const SHARING = {
  leader: "has the connection of all tabs",
  follower: "uses another tab's connection",
  alone: "has a connection of its own",
  none: "has none",
};
const SIGN_IN_AGAIN_MS = 2000;
const events = new StreamView();
const runs = new RunsView();
const network = new Network(showCut);
let carillon = null;
let client = null;
let user = null;

// Who.

async function begin() {
  try {
    const found = await signedIn();
    if (found === null && sessionStorage.getItem("out")) return showOut("You are signed out", "Nothing of yours is shown.");
    await become(found ?? USERS[0], found === null);
  } catch (error) {
    say(`cannot sign in: ${error.message}`, true);
    setTimeout(begin, SIGN_IN_AGAIN_MS);
  }
}

async function become(name, mustSignIn) {
  if (mustSignIn) await signIn(name);
  sessionStorage.removeItem("out");
  user = name;
  showUser();
  follow();
}

async function enter(name) {
  try {
    await become(name, true);
  } catch ({ message }) {
    const text = `cannot sign in: ${message}`;
    if (user === null) $("out-why").textContent = text;
    else say(text, true);
  }
}

async function leave() {
  sessionStorage.setItem("out", "1");
  await signOut();
}

function showUser() {
  $("who").hidden = $("act").hidden = user === null;
  if (user === null) return;
  const choices = USERS.map((name) => button(name, "choice", () => name !== user && enter(name)));
  choices.forEach((each) => each.setAttribute("aria-pressed", String(each.textContent === user)));
  $("who").replaceChildren(...choices, button("Sign out", "link", leave));
  $("curl").textContent = curlOf(user);
  $("audience").value = `user:${user}`;
  $("presets").replaceChildren(...presets(user).map(([text, act]) => button(text, "preset", () => attempt(act))));
}

/** Nothing of whoever was signed in stays on the page. */
function showOut(title, why) {
  user = null;
  showUser();
  runs.end();
  events.clear();
  $("outcome").replaceChildren();
  $("program").hidden = true;
  $("out").hidden = false;
  $("out-title").textContent = title;
  $("out-why").textContent = why;
  $("out-choice").replaceChildren(...USERS.map((name) => button(`Sign in as ${name}`, "main", () => enter(name))));
}

// What they see.

function follow() {
  client?.close();
  runs.end();
  events.clear();
  $("out").hidden = true;
  if (!carillon) return;
  client = carillon.connect({ from: "earliest", fetch: network.fetch });
  const mine = client;
  client.on("*", (event, { cursor }) => events.event(event, cursor));
  client.on("reset", ({ data }) => events.reset(data.reason));
  client.onStatus((situation) => mine === client && showSituation(situation));
  runs.begin(client);
  inbox.client = client;
  showSituation(client.situation);
}

function showSituation({ status, reason, retryInMs }) {
  // Somebody has signed in again, in another tab.
  if (status === "live" && user === null) return become(client.user, false);
  if (status === "offline") events.away(client.cursor, network.isCut ? "cut" : reason);
  if (status === "live") events.back();
  $("out").hidden = status !== "expired";
  if (status === "expired") showExpired(reason);
  $("status").dataset.state = status;
  const wait = retryInMs === undefined ? "" : `, again in ${Math.ceil(retryInMs / 1000)} s`;
  $("status").textContent = status === "offline" ? `offline: ${network.isCut ? "cut" : reason}${wait}` : status;
  $("sharing").textContent = SHARING[client.sharing];
  $("cut").disabled = status === "expired";
}

function showExpired(reason) {
  if (reason !== "other-user") return showOut("You are signed out", "In every tab of this browser. Nothing of yours is shown.");
  showOut("Somebody else has signed in", "In this browser. A private window has a session of its own.");
}

function showCut(isCut) {
  $("cut").textContent = isCut ? "Let it resume" : "Cut the connection";
  $("cut").setAttribute("aria-pressed", String(isCut));
  $("link-hint").textContent = isCut ? "Now publish something: it waits in the log, and comes in order when you let it resume." : "";
}

// The element is a bell where there is little room, and beside the rest where there is much.

const inbox = document.createElement("carillon-inbox");
inbox.setAttribute("toasts", "");
const isWide = matchMedia("(min-width: 68rem)");

function place() {
  inbox.toggleAttribute("inline", isWide.matches);
  (isWide.matches ? $("inbox-place") : $("bell-place")).append(inbox);
}

// What they do.

async function attempt(act) {
  try {
    const { said, trace, command } = await act();
    say(said, false, trace);
    if (command) [$("program").hidden, $("command").textContent] = [false, command];
  } catch (error) {
    say(error.message, true);
  }
}

function say(text, isBad, trace) {
  $("outcome").replaceChildren(text);
  $("outcome").toggleAttribute("data-bad", isBad);
  if (trace) $("outcome").append(" ", traceLink(trace, `/console/events?find=${trace}`));
}

function ofForm({ type, audience, subject, data }) {
  return {
    type: type.value, audience: audience.value.trim().split(/\s+/).join(" "), subject: subject.value,
    datacontenttype: "application/json", data: JSON.parse(data.value || "null"),
  };
}

async function offerSamples() {
  const { samples } = await (await fetch("/dev/samples.json")).json();
  for (const sample of samples) {
    const filler = button(sample.type.replace("com.github.", ""), "quiet", () => {
      $("type").value = sample.type;
      $("audience").value = sample.to;
      $("subject").value = sample.subject ?? "";
      $("data").value = JSON.stringify(sample.data, null, 1);
    });
    filler.title = `A real GitHub webhook, to ${sample.to}`;
    $("samples").append(filler);
  }
}

async function load() {
  try {
    carillon = await import("/client/carillon.js");
    await import("/client/inbox-element.js");
  } catch {
    const told = await fetch("/client/carillon.js").then((answer) => answer.json()).catch(() => ({}));
    $("missing").hidden = false;
    $("missing-why").textContent = told.fix ? `${told.detail}: ${told.fix}.` : "It could not be loaded.";
  }
}

$("publish").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  void attempt(async () => publish(ofForm(submitted.target.elements)));
});
$("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText($("curl").textContent);
  $("copy").textContent = "Copied";
  setTimeout(() => ($("copy").textContent = "Copy"), 1500);
});
$("cut").addEventListener("click", () => network.toggle());
$("again").addEventListener("click", () => location.reload());
isWide.addEventListener("change", place);
setInterval(() => ($("cursor").textContent = client?.cursor ?? "none"), 250);
void offerSamples();
await load();
place();
await begin();
