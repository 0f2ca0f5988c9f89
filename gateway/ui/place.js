// Where things are, and how to ask for them.
//
// The page is served at the root and at an address of Orthanc's, maybe under a sub-path:
// the server writes into it where its own root is, and everything else starts from there.

const named = (name) => document.querySelector(`meta[name="${name}"]`).content;

export const rest = new URL(named("rest-root"), document.baseURI).href;

const dicomweb = named("dicomweb-root");

// The archive of this gateway, and those that it knows, are spoken to alike.
export const here = { name: "", base: dicomweb && new URL(dicomweb, document.baseURI).href };

export const servers = here.base && `${here.base}servers`;

export function remote(name) {
  return { name, base: `${servers}/${encodeURIComponent(name)}/` };
}

export function source(name) {
  return name ? remote(name) : here;
}

// An answer that was no success, with what the server said of it.
export class Refusal extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

const WORDS = {
  401: "You have to log in for this.",
  403: "You may not do this.",
  404: "There is no such thing (any more).",
  503: "The server is busy, or about to stop.",
  507: "There is no room left on the server.",
};

async function refusal(response) {
  let text = WORDS[response.status] || `The server answered ${response.status}.`;
  try {
    const told = await response.json();
    if (told.Details || told.Message) {
      const plain = response.status === 401 || response.status === 403 ? `${text} ` : "";
      text = plain + (told.Details || told.Message);
    }
  } catch {
    // it said nothing more
  }
  return new Refusal(response.status, text);
}

export async function ask(address, options = {}) {
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "The server cannot be reached.");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

export async function json(address, options = {}) {
  const headers = { Accept: "application/dicom+json, application/json", ...options.headers };
  const response = await ask(address, { ...options, headers });
  return response.status === 204 ? [] : response.json();
}

export function send(method, address, value) {
  const body = value === undefined ? undefined : JSON.stringify(value);
  const headers = { "Content-Type": "application/json", Accept: "application/json" };
  return ask(address, { method, body, headers });
}

export function studyPath(study, series, instance) {
  let path = `studies/${study}`;
  if (series) path += `/series/${series}`;
  if (instance) path += `/instances/${instance}`;
  return path;
}

const KEYS = { Series: ["SeriesInstanceUID", "series"], Instance: ["SOPInstanceUID", "instance"] };

async function find(question) {
  const response = await send("POST", `${rest}tools/find`, question);
  return response.json();
}

// What Orthanc's routes call a study, series or instance of a patient. Two patients may
// share a UID: what belongs to the other one is not meant.
export async function identifiers(what) {
  const query = { StudyInstanceUID: what.study };
  const studies = await find({ Level: "Study", Query: query, Expand: true });
  const own = studies.filter((one) => (one.PatientMainDicomTags?.PatientID ?? "").trim() === what.patient.trim());
  if (what.level === "Study") return own.map((one) => one.ID);
  const [key, name] = KEYS[what.level];
  const below = own.map((one) => find({ Level: what.level, Query: { [key]: what[name] }, ParentStudy: one.ID }));
  return (await Promise.all(below)).flat();
}

const BELIEVED = 5000; // milliseconds for which a server is taken to be as it was
const operations = new Map();

// What a remote server lets us do: "get", "qido", ..., "delete". Many ask at once.
export function allowed(name) {
  const known = operations.get(name);
  if (known && performance.now() - known.at < BELIEVED) return known.answer;
  const answer = json(`${servers}/${encodeURIComponent(name)}`);
  operations.set(name, { at: performance.now(), answer });
  return answer;
}

let asked;

// What the server lets a page know of its settings.
export function settings() {
  asked ||= json(`${rest}app/settings.json`).catch((error) => {
    asked = undefined;
    throw error;
  });
  return asked;
}
