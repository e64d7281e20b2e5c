// The event stream format, from bytes to frames. Pure.
// Source: WHATWG HTML, section 9.2.6, https://html.spec.whatwg.org/multipage/server-sent-events.html

/** What stood between two empty lines, where it was more than comments. */
export interface Frame {
  /** The `event:` field; `message` where there is none. */
  name: string;
  /** The `data:` lines joined by LF; undefined where there is none, and so no event to dispatch. */
  data?: string;
  /** The `id:` of this very frame. */
  id?: string;
  /** The last `retry:` since the frame before, in milliseconds. */
  retry?: number;
}

// An event has at most 256 KiB by default. A server that never ends a frame must not take the tab's memory.
export const MAX_FRAME_CHARS = 16 * 1024 * 1024;

const LINE_END = /\r\n|\r|\n/;

/** One stream: `push` its bytes as they come, in pieces cut anywhere. */
export class EventStreamParser {
  // Takes the first byte order mark away, and puts characters together that were cut.
  readonly #decoder = new TextDecoder();
  #line = "";
  #chars = 0;
  #endsInCR = false;
  #frame: Frame = { name: "" };
  #data: string[] = [];

  /** The frames that these bytes complete. Throws `RangeError` for one beyond `MAX_FRAME_CHARS`. */
  push(bytes: Uint8Array): Frame[] {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (text === "") return [];
    // The CR has ended its line already; a LF behind it is no line of its own.
    if (this.#endsInCR && text[0] === "\n") text = text.slice(1);
    this.#endsInCR = text.endsWith("\r");
    this.#chars += text.length;
    const lines = text.split(LINE_END);
    const frames: Frame[] = [];
    // Only what is new is looked at: a long line in ten thousand pieces stays cheap.
    lines[0] = this.#line + lines[0];
    this.#line = lines.pop()!;
    for (const line of lines) {
      if (line !== "") this.#field(line);
      else this.#dispatch(frames);
    }
    if (this.#chars > MAX_FRAME_CHARS) throw new RangeError("a frame without end");
    return frames;
  }

  #field(line: string): void {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#frame.name = value;
    else if (name === "id" && !value.includes("\0")) this.#frame.id = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) this.#frame.retry = Number(value);
  }

  #dispatch(frames: Frame[]): void {
    const frame = this.#frame;
    frame.name ||= "message";
    if (this.#data.length) frame.data = this.#data.join("\n");
    if (frame.data !== undefined || frame.id !== undefined || frame.retry !== undefined) frames.push(frame);
    this.#frame = { name: "" };
    this.#data = [];
    this.#chars = 0;
  }
}
