// One call of the dicomweb-client package, as it is. Standard input: {url, method,
// options, client} in JSON. Standard output: {result}, or {error, status}.
// Bytes are {"base64": text} both ways; what comes back tells its media type as well.
"use strict";

const fs = require("node:fs");

// The package is written for browsers; Node has no XMLHttpRequest of its own.
globalThis.XMLHttpRequest = require("xhr2").XMLHttpRequest;
const { api } = require("dicomweb-client");

function given(value) {
  if (Array.isArray(value)) return value.map(given);
  if (value === null || typeof value !== "object") return value;
  if ("base64" in value) {
    const bytes = Buffer.from(value.base64, "base64");
    return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  }
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, given(v)]));
}

function told(value) {
  if (value instanceof ArrayBuffer) {
    const base64 = Buffer.from(value).toString("base64");
    return { base64, contentType: value.contentType };
  }
  return Array.isArray(value) ? value.map(told) : value;
}

async function main() {
  const asked = JSON.parse(fs.readFileSync(0, "utf8"));
  const client = new api.DICOMwebClient({
    url: asked.url,
    verbose: false,
    ...asked.client,
  });
  try {
    return { result: told(await client[asked.method](given(asked.options))) };
  } catch (error) {
    return { error: String(error.message), status: error.status ?? null };
  }
}

main().then((answer) => process.stdout.write(JSON.stringify(answer)));
