// The client's way to the server, which a button cuts: in every tab of this browser, because one has the connection of
// all. What the page itself publishes goes another way.

export class Network {
  #cut = new AbortController();
  #channel = new BroadcastChannel("carillon-demo-network");
  #changed;

  /** `changed` is called with whether it is cut. */
  constructor(changed) {
    this.#changed = changed;
    this.#channel.onmessage = ({ data }) => this.#set(data);
  }

  get isCut() {
    return this.#cut.signal.aborted;
  }

  fetch = (input, init) => {
    const signals = [init?.signal, this.#cut.signal].filter(Boolean);
    return fetch(input, { ...init, signal: AbortSignal.any(signals) });
  };

  toggle() {
    this.#channel.postMessage(!this.isCut);
    this.#set(!this.isCut);
  }

  #set(isCut) {
    if (isCut === this.isCut) return;
    if (isCut) this.#cut.abort();
    else this.#cut = new AbortController();
    this.#changed(isCut);
    // As a real network says so; the client need not wait for its next try.
    if (!isCut) dispatchEvent(new Event("online"));
  }
}
