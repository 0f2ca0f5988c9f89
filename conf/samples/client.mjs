// A client of the gateway that needs nothing but Node 18 or newer: store, find, fetch, send.
//
//     node client.mjs http://localhost:8042 FILE.dcm... [--server NAME] [--folder DIR]
//
// Stores the files, finds the studies that they belong to, fetches these into a folder
// and, if a server is named, sends them there and watches the job. Name and password are
// taken from GATEWAY_USER and GATEWAY_PASSWORD, if they are set. The class works in a
// browser as well, but for the files, which are Blobs there.

import { createHash, randomUUID } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { parseArgs } from "node:util";

const WAIT = 30; // seconds that the gateway may wait for news of a job
const DICOM_JSON = "application/dicom+json";

class Gateway {
  /** Speaks to the gateway at an address such as http://localhost:8042. */
  constructor(url, user = "", password = "") {
    this.url = url.replace(/\/+$/, "");
    this.root = `${this.url}/dicom-web`;
    this.headers = {};
    if (user) {
      const pair = Buffer.from(`${user}:${password}`).toString("base64");
      this.headers.Authorization = `Basic ${pair}`;
    }
  }

  /** Send files by STOW-RS, in one request: the addresses of what was stored. */
  async store(files) {
    const boundary = randomUUID();
    const type = `multipart/related; type="application/dicom"; boundary=${boundary}`;
    const response = await fetch(`${this.root}/studies`, {
      method: "POST",
      headers: { ...this.headers, "Content-Type": type, Accept: DICOM_JSON },
      body: Readable.toWeb(Readable.from(parts(files, boundary))),
      duplex: "half", // a body that is a stream goes chunked
    });
    // 409: nothing was stored, and the answer says why.
    if (!response.ok && response.status !== 409) throw await failure(response);
    const answer = await response.json();
    for (const tag of ["00081198", "0008119A"]) {
      for (const item of answer[tag]?.Value ?? []) {
        console.error(`not stored: reason ${item["00081197"].Value[0]}`);
      }
    }
    return (answer["00081199"]?.Value ?? []).map((item) => value(item, "00081190"));
  }

  /** Search by QIDO-RS: find("studies", { PatientName: "Doe*" }). */
  async find(where, query = {}) {
    return this.json(`${this.root}/${where}?${new URLSearchParams(query)}`);
  }

  /** Write an instance into a file, just as it is stored (WADO-RS). */
  async fetch(url, file) {
    const headers = { ...this.headers, Accept: "application/dicom; transfer-syntax=*" };
    const response = await fetch(url, { headers });
    if (!response.ok) throw await failure(response);
    await pipeline(Readable.fromWeb(response.body), createWriteStream(file));
  }

  /** Send studies, named by Orthanc's identifiers, to a server: the job's address. */
  async send(server, resources) {
    const url = `${this.root}/servers/${encodeURIComponent(server)}/stow`;
    const body = JSON.stringify({ Resources: resources, Synchronous: false });
    const job = await this.json(url, { method: "POST", body });
    return `${this.url}/jobs/${job.ID}`;
  }

  /** The job each time that something changed, until it is finished. */
  async *watch(job) {
    let shown = await this.json(job);
    yield shown;
    while (!["Success", "Failure"].includes(shown.State)) {
      // The answer comes when there are news: nobody has to ask all the time. In a
      // browser, new EventSource(`${job}/events`) is told of each change as well.
      shown = await this.json(`${job}?wait=${WAIT}&since=${shown.Version}`);
      yield shown;
    }
  }

  async json(url, options = {}) {
    const response = await fetch(url, { ...options, headers: this.headers });
    if (!response.ok) throw await failure(response);
    return response.json();
  }
}

/** The body of a STOW-RS request (PS3.18 8.6.1.2), read as it is sent. */
async function* parts(files, boundary) {
  for (const file of files) {
    yield Buffer.from(`--${boundary}\r\nContent-Type: application/dicom\r\n\r\n`);
    yield* createReadStream(file);
    yield Buffer.from("\r\n");
  }
  yield Buffer.from(`--${boundary}--\r\n`);
}

async function failure(response) {
  return new Error(`${response.url}: ${response.status} ${await response.text()}`);
}

/** Orthanc's identifier: of a study, from its PatientID and its StudyInstanceUID. */
function orthancId(...names) {
  const digest = createHash("sha1").update(names.join("|")).digest("hex");
  return digest.match(/.{8}/g).join("-");
}

/** The first value of an attribute in DICOM JSON, or an empty string. */
function value(dataSet, tag) {
  return dataSet[tag]?.Value?.[0] ?? "";
}

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { server: { type: "string" }, folder: { type: "string", default: "fetched" } },
});
const [url, ...files] = positionals;
if (!url || !files.length) {
  console.error("usage: node client.mjs URL FILE... [--server NAME] [--folder DIR]");
  process.exit(2);
}
const { GATEWAY_USER, GATEWAY_PASSWORD } = process.env;
const gateway = new Gateway(url, GATEWAY_USER, GATEWAY_PASSWORD);

const stored = await gateway.store(files);
console.log(`stored ${stored.length} of ${files.length}`);
const studies = new Set(stored.map((place) => place.match(/\/studies\/([^/]+)/)[1]));

await mkdir(options.folder, { recursive: true });
const identifiers = [];
for (const study of [...studies].sort()) {
  const [found] = await gateway.find("studies", { StudyInstanceUID: study });
  console.log(`study ${study} of ${value(found, "00080020")}`);
  identifiers.push(orthancId(value(found, "00100020"), study));
  for (const instance of await gateway.find(`studies/${study}/instances`)) {
    const file = path.join(options.folder, `${value(instance, "00080018")}.dcm`);
    await gateway.fetch(value(instance, "00081190"), file);
    console.log(`fetched ${file}`);
  }
}

if (options.server) {
  let last;
  for await (last of gateway.watch(await gateway.send(options.server, identifiers))) {
    console.log(`${last.State} ${last.Progress} %`, last.ErrorDetails);
  }
  process.exitCode = last.State === "Success" ? 0 : 1;
}
