// Runs of jobs and workflows, each followed as a stream by its subject: state, steps on a common axis of time, end.

import { $, element } from "./dom.js";

const FOLLOWED = /^(job|workflow)\//;
const SHOWN_MAX = 3;
const REDRAW_MS = 200;
const LISTED = 20;
const SIGNS = { pending: "○", running: "◐", completed: "✓", passed: "✓", failed: "✕", error: "✕", cancelled: "–", skipped: "–" };

export class RunsView {
  #client = null;
  #runs = new Map();
  #ticking;

  /** Follows the runs of this client's user. */
  begin(client) {
    this.end();
    this.#client = client;
    client.on("*", ({ subject }) => client.status === "live" && this.#follow(subject));
    client.onStatus(({ status }) => status === "live" && this.#find());
    this.#ticking = setInterval(() => this.#runs.forEach((run) => run.tick()), REDRAW_MS);
  }

  end() {
    clearInterval(this.#ticking);
    for (const subject of this.#runs.keys()) this.#forget(subject);
  }

  /** Those that were there before, or began while the connection was away. */
  async #find() {
    const client = this.#client;
    const answer = await client.request(`/v1/streams?limit=${LISTED}`).catch(() => null);
    if (!answer?.ok || client !== this.#client) return;
    const found = (await answer.json()).items.map(({ subject }) => subject).filter((subject) => FOLLOWED.test(subject));
    found.slice(0, SHOWN_MAX).reverse().forEach((subject) => this.#follow(subject));
  }

  #follow(subject) {
    if (!subject || !FOLLOWED.test(subject) || this.#runs.has(subject)) return;
    const run = new RunCard(subject, this.#client.stream(subject));
    this.#runs.set(subject, run);
    $("runs").prepend(run.element);
    $("no-runs").hidden = true;
    if (this.#runs.size > SHOWN_MAX) this.#forget(this.#runs.keys().next().value);
  }

  #forget(subject) {
    this.#runs.get(subject).close();
    this.#runs.delete(subject);
    $("no-runs").hidden = this.#runs.size > 0;
  }
}

class RunCard {
  #stream;
  #state = null;
  #badge = element("span", { class: "badge" });
  #bar = element("progress", { max: 100, value: 0 });
  #steps = element("ol", { class: "steps" });
  #foot = element("p", { class: "hint" });
  #rows = new Map();

  constructor(subject, stream) {
    this.#stream = stream;
    this.#bar.setAttribute("aria-label", `Progress of ${subject}`);
    this.#steps.setAttribute("aria-label", "Steps");
    const head = element("div", { class: "row" }, element("h3", { text: subject }), this.#badge);
    this.element = element("article", { class: "run", "data-subject": subject }, head, this.#bar, this.#steps, this.#foot);
    stream.onUpdate(({ stream }) => this.#show(stream));
  }

  close() {
    this.#stream.close();
    this.element.remove();
  }

  /** Time goes by for what runs. */
  tick() {
    if (this.#state && !this.#state.final) this.#draw();
  }

  #show(state) {
    this.#state = state;
    this.#draw();
  }

  #draw() {
    const { status, progress, state, version, started_at, ended_at } = this.#state;
    this.element.dataset.status = this.#badge.dataset.status = status ?? "waiting";
    this.#badge.textContent = status ?? "waiting";
    // What has ended well is done, also where its last event did not say so.
    this.#bar.value = status === "completed" ? 100 : (progress ?? 0);
    const now = Date.now();
    const axis = { from: Date.parse(started_at) || now, to: Date.parse(ended_at) || now };
    for (const [id, step] of Object.entries(state.steps ?? {})) this.#row(id).draw(step, axis);
    const told = state.error ?? state.message ?? (state.result && JSON.stringify(state.result)) ?? "";
    this.#foot.textContent = [`${version} events`, seconds(axis.to - axis.from), told].filter(Boolean).join(" · ");
  }

  #row(id) {
    let row = this.#rows.get(id);
    if (!row) {
      this.#rows.set(id, (row = new StepRow(id)));
      this.#steps.append(row.element);
    }
    return row;
  }
}

class StepRow {
  #sign = element("span", { class: "sign", "aria-hidden": "true" });
  #name = element("span", { class: "name" });
  #bar = element("span", { class: "bar" });
  #took = element("span", { class: "took" });

  constructor(id) {
    const status = (this.status = element("span", { class: "hush" }));
    const track = element("span", { class: "track", "aria-hidden": "true" }, this.#bar);
    this.element = element("li", { "data-step": id }, this.#sign, this.#name, status, track, this.#took);
  }

  draw({ name, status, attempt, started_at, ended_at }, { from, to }) {
    this.element.dataset.status = status;
    this.#sign.textContent = SIGNS[status] ?? "○";
    this.#name.textContent = (name ?? this.element.dataset.step) + (attempt > 1 ? `, try ${attempt}` : "");
    this.status.textContent = status;
    const begin = Date.parse(started_at);
    const end = Date.parse(ended_at) || to;
    const whole = Math.max(1, to - from);
    this.#bar.hidden = Number.isNaN(begin);
    if (this.#bar.hidden) return;
    this.#bar.style.insetInlineStart = percent((begin - from) / whole);
    this.#bar.style.inlineSize = percent((end - begin) / whole);
    this.#took.textContent = seconds(end - begin);
  }
}

const percent = (part) => `${100 * Math.max(0, Math.min(1, part))}%`;
const seconds = (ms) => (ms < 0 ? "" : `${(ms / 1000).toFixed(1)} s`);
