// In every page of the client's tests: follows the stream as a page would, and keeps what it was given.
globalThis.follow = async (options) => {
  const { connect } = await import("/client/carillon.js");
  const tab = { client: connect(options), seen: [], situations: [], resets: [] };
  globalThis.tab = tab;
  tab.client.on("*", (data, { cursor }) => tab.seen.push({ cursor, type: data.type, data }));
  tab.client.on("reset", ({ data }) => tab.resets.push(data.reason));
  tab.client.onStatus((situation) => tab.situations.push(situation));
};

globalThis.openInbox = async () => {
  const { inbox } = await import("/client/inbox.js");
  tab.box = inbox(tab.client);
};

// How many items are left at once, and what the server says.
globalThis.markNewest = async (mark) => {
  const marking = tab.box.mark(mark, [tab.box.state.items[0].id]);
  const atOnce = tab.box.state.items.length;
  return { atOnce, isTaken: await marking };
};

// Each state of a stream until it ends, as a page would follow it.
globalThis.followStream = async (subject) => {
  tab.updates = [];
  for await (const { stream } of tab.client.stream(subject)) tab.updates.push(stream);
  tab.isOver = true;
};
