// Tabs that share a connection: each sees its slice of the log once and in order, whatever happens to the others.

import assert from "node:assert/strict";
import test from "node:test";
import fc from "./examples.js";
import { RECENT_ITEMS } from "../src/recent.js";
import { sliceOf, World } from "./world.js";

function assertAllHaveTheirs(world: World): void {
  for (const state of world.tabs) assert.deepEqual(state.delivered, sliceOf(world, state), state.name);
}

const readers = (world: World): string[] => world.tabs.filter(({ stream }) => stream).map(({ name }) => name);

function settled(world: World): World {
  world.settle();
  return world;
}

test("seven tabs, one connection, and each sees everything", () => {
  const world = new World();
  for (let number = 0; number < 7; number++) world.open(null);
  settled(world);
  for (let number = 0; number < 20; number++) world.append(number % 3 > 0);
  assert.equal(readers(settled(world)).length, 1);
  assert.deepEqual(world.tabs.map(({ tab }) => tab.role).sort(), [...Array(6).fill("follower"), "leader"]);
  assertAllHaveTheirs(world);
  assert.equal(world.tabs[0]!.delivered.length, 13);
});

test("when the leader goes, another goes on where it was", () => {
  const world = new World();
  const [leader] = [world.open(null), world.open(null), world.open(null)];
  settled(world).append(true);
  settled(world).crash(leader!);
  world.append(true);
  assert.equal(readers(settled(world)).length, 1);
  assertAllHaveTheirs(world);
  assert.deepEqual(world.tabs.map(({ delivered }) => delivered), [[1, 2], [1, 2]]);
});

test("a tab that comes late with a cursor gets what it missed from the leader's memory, without a connection", () => {
  const world = new World();
  world.open(null);
  settled(world);
  for (let number = 0; number < 5; number++) world.append(true);
  settled(world);
  const late = world.open("log.2");
  settled(world);
  assert.equal(late.opened, 0);
  assert.deepEqual(late.delivered, [3, 4, 5]);
});

test("who wants more than the leader remembers reads it from the server, and then follows", () => {
  const world = new World();
  world.open(null);
  settled(world);
  for (let number = 0; number < RECENT_ITEMS + 50; number++) world.append(true);
  settled(world);
  const late = world.open("earliest");
  while (late.delivered.length < 5) world.steps().find(([what]) => !what.startsWith("message from tab0") || !late.opened)![1]();
  world.cut(world.tabs[0]!);
  world.settle();
  world.append(true);
  assert.deepEqual(readers(settled(world)), ["tab0"]);
  assert.equal(late.opened, 1);
  // Also while the leader reports that it is live.
  assert.deepEqual(late.statuses.slice(0, -1), late.statuses.slice(0, -1).fill("catching-up"));
  assert.equal(late.statuses.at(-1), "live");
  assert.equal(late.delivered.length, RECENT_ITEMS + 51);
  assertAllHaveTheirs(world);
});

test("a leader that stands still is deposed by the first who misses it, and follows when it goes on", () => {
  const world = new World();
  const [leader, follower] = [world.open(null), world.open(null)];
  settled(world).append(true);
  settled(world);
  leader.isFrozen = true;
  world.give(follower, { is: "woken", now: 0 });
  const unanswered = world.steps().find(([what]) => what === "unanswered");
  unanswered![1]();
  world.append(true);
  settled(world);
  assert.deepEqual([leader.tab.role, follower.tab.role], ["follower", "leader"]);
  assertAllHaveTheirs(world);
});

test("a leader that has long said nothing is asked whether it lives, and is left alone in its waiting", () => {
  const world = new World();
  const [leader, follower] = [world.open(null), world.open(null)];
  settled(world).cut(leader);
  settled(world);
  const { opened } = leader;
  world.cut(leader);
  world.steps().find(([what]) => what === "probe")![1]();
  while (leader.inbox.length) world.steps().find(([what]) => what.startsWith("message"))![1]();
  assert.equal(leader.opened, opened);
  // Who looks at a page does not want to wait.
  world.give(follower, { is: "woken", now: 0 });
  while (leader.inbox.length) world.steps().find(([what]) => what.startsWith("message"))![1]();
  assert.equal(leader.opened, opened + 1);
});

test("history that is gone is a reset for each tab that had not seen it, and for no other", () => {
  const world = new World();
  const fresh = world.open(null);
  settled(world);
  for (let number = 0; number < RECENT_ITEMS + 10; number++) world.append(true);
  settled(world);
  world.floor = 5;
  const old = world.open("log.2");
  settled(world);
  assert.deepEqual([fresh.resets, old.resets], [0, 1]);
  assertAllHaveTheirs(world);
});

test("a leader whose history is gone does not take along who is farther", () => {
  const world = new World();
  const [leader, ahead] = [world.open(null), world.open(null)];
  settled(world);
  for (let number = 0; number < 10; number++) world.append(true);
  settled(world);
  world.floor = 5;
  const old = world.open("log.2");
  // It leads before anybody has told it how far the others are.
  world.steps().find(([what]) => what === "asked")![1]();
  world.leave(ahead);
  world.crash(leader);
  world.append(true);
  while (!old.resets) world.steps()[0]![1]();
  world.comeBack(ahead);
  world.append(true);
  settled(world);
  assert.deepEqual([ahead.resets, old.resets], [0, 1]);
  assertAllHaveTheirs(world);
});

test("a log that was replaced is a reset for every tab, also for one that was reading the old one", () => {
  const world = new World();
  world.open(null);
  settled(world);
  for (let number = 0; number < RECENT_ITEMS + 50; number++) world.append(true);
  settled(world);
  const late = world.open("earliest");
  while (late.delivered.length < 5) world.steps()[0]![1]();
  world.replaceLog();
  settled(world).append(true);
  assert.deepEqual(readers(settled(world)), ["tab0"]);
  assert.deepEqual(world.tabs.map(({ resets }) => resets), [1, 1]);
  assertAllHaveTheirs(world);
});

test("what the leader that stood still has sent twice is dropped by its place", () => {
  const world = new World();
  const [, follower] = [world.open(null), world.open(null)];
  settled(world).append(true);
  settled(world);
  const again = { kind: "item", after: "log.0", cursor: "log.1", name: "counter.raised", data: "1" } as const;
  assert.deepEqual(follower.tab.take({ is: "message", message: again, now: 0 }), []);
});

test("a tab that leads those who come back does not tell them that they are signed out", () => {
  const world = new World();
  for (let number = 0; number < 3; number++) world.open(null);
  settled(world).signOut();
  // They hear of it before the place of their leader is free.
  for (const what of ["asked", "message from tab0", "message from tab0"]) world.steps().find(([each]) => each === what)![1]();
  settled(world);
  assert.deepEqual(world.tabs.map(({ statuses }) => statuses.at(-1)), ["expired", "expired", "expired"]);
  world.append(true);
  world.isSignedIn = true;
  // Where the machine is busy, those who were here before are first in line.
  for (const state of world.tabs.slice(1)) world.give(state, { is: "start", withToken: false });
  const fourth = world.open("log.0");
  for (let asked = 0; asked < 3; asked++) world.steps().find(([what]) => what === "asked")![1]();
  assert.deepEqual(settled(world).tabs.map(({ statuses }) => statuses.at(-1)), Array(4).fill("live"));
  assert.deepEqual(fourth.delivered, [1]);
  assertAllHaveTheirs(world);
});

// Any order of events, of steps, and of faults. Each number chooses one of what is possible then.
const FAULTS = ["append", "append hidden", "open", "open earliest", "open old", "crash", "leave", "return", "freeze", "thaw", "cut", "wake", "trim", "sign out", "sign in"];

export function fault(world: World, what: string, choice: number): void {
  const state = world.tabs[choice % world.tabs.length];
  if (what === "append") world.append(true);
  else if (what === "append hidden") world.append(false);
  else if (what === "sign out") world.signOut();
  else if (what === "sign in") world.isSignedIn = true;
  else if (what === "trim") world.floor = Math.max(world.floor, world.head - (choice % 5));
  else if (what.startsWith("open") && world.tabs.length < 5) {
    world.open(what === "open" ? null : what === "open earliest" ? "earliest" : `log.${choice % (world.head + 1)}`);
  } else if (!state) return;
  else if (what === "crash") world.crash(state);
  else if (what === "leave") world.leave(state);
  else if (what === "return") world.comeBack(state);
  else if (what === "freeze" || what === "thaw") state.isFrozen = what === "freeze";
  else if (what === "cut") world.cut(state);
  else if (what === "wake" && !state.isFrozen) world.give(state, { is: "woken", now: 0 });
}

function live(world: World, choices: [kind: number, choice: number][]): void {
  for (const [kind, choice] of choices) {
    const steps = world.steps();
    // Two of three choices are steps: faults alone would keep anything from happening.
    if (kind % 3 > 0 && steps.length) steps[choice % steps.length]![1]();
    else fault(world, FAULTS[Math.floor(kind / 3) % FAULTS.length]!, choice);
  }
  world.isSignedIn = true;
  for (const state of world.tabs) {
    state.isFrozen = false;
    world.comeBack(state);
  }
  settled(world);
  // As one does at a page that says so.
  for (const state of world.tabs) if (state.statuses.at(-1) === "expired") world.give(state, { is: "start", withToken: false });
  settled(world).append(true);
  world.settle();
}

test("whatever happens, every tab sees exactly its slice, once and in order, and one connection is left", () => {
  const choices = fc.array(fc.tuple(fc.nat({ max: 89 }), fc.nat({ max: 1000 })), { maxLength: 150, size: "max" });
  fc.assert(
    fc.property(choices, (chosen) => {
      const world = new World();
      world.open(null);
      live(world, chosen);
      assertAllHaveTheirs(world);
      assert.equal(readers(world).length, Math.min(1, world.tabs.length));
    }),
    { numRuns: 1000 },
  );
});
