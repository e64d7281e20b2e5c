// In every page of the client's tests: follows the stream as a page would, and keeps what it was given.
globalThis.follow = async (options) => {
  const { connect } = await import("/client/carillon.js");
  const tab = { client: connect(options), seen: [], situations: [], resets: [] };
  globalThis.tab = tab;
  tab.client.on("*", (data, { cursor }) => tab.seen.push({ cursor, type: data.type, data }));
  tab.client.on("reset", ({ data }) => tab.resets.push(data.reason));
  tab.client.onStatus((situation) => tab.situations.push(situation));
};
