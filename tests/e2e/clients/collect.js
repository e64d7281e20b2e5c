// Run by the page in Chromium and by Node alike: reads one stream until it is closed for good, or until an
// event of the type `last`. What is listened to is named, as the standard's EventSource demands.
globalThis.collect = (EventSource, { url, types, last }, options) =>
  new Promise((resolve) => {
    const seen = [];
    const source = new EventSource(url, options);
    const finish = () => {
      source.close();
      resolve(seen);
    };
    for (const type of types) {
      source.addEventListener(type, (event) => {
        seen.push({ type: event.type, data: event.data, id: event.lastEventId });
        if (event.type === last) finish();
      });
    }
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) finish();
    });
  });
