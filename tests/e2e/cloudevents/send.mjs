// Sends events as the SDK's users do, and tells what was answered. Standard input: [{url, key, mode, attributes, data, bytes}].
import { CloudEvent, emitterFor, httpTransport, Mode } from "cloudevents";

let input = "";
for await (const chunk of process.stdin) input += chunk;

const answers = [];
for (const { url, key, mode, attributes, data, bytes } of JSON.parse(input)) {
  const content = bytes === null ? data : Buffer.from(bytes, "base64");
  const event = new CloudEvent(content === null ? attributes : { ...attributes, data: content });
  const emit = emitterFor(httpTransport(url), { mode: mode === "binary" ? Mode.BINARY : Mode.STRUCTURED });
  answers.push(JSON.parse((await emit(event, { headers: { Authorization: `Bearer ${key}` } })).body));
}
console.log(JSON.stringify(answers));
