// node golden.mjs SIZE FILE...: the frames with data of each file, read in pieces of SIZE bytes, as JSON.
import { readFileSync } from "node:fs";
import { EventStreamParser } from "../src/parser.js";

function read(file: string, size: number): object[] {
  const bytes = readFileSync(file);
  const parser = new EventStreamParser();
  const frames = [];
  for (let at = 0; at < bytes.length; at += size) frames.push(...parser.push(bytes.subarray(at, at + size)));
  return frames.filter(({ data }) => data !== undefined).map(({ retry: _, ...frame }) => frame);
}

const [size, ...files] = process.argv.slice(2);
process.stdout.write(JSON.stringify(files.map((file) => read(file, Number(size)))));
