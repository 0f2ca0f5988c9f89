// Files and folders on their way into the archive: each with its progress and its fate.

import { html, useEffect, useReducer, useRef, useState } from "./vendor/preact.js";
import { bytes, count } from "./dicom.js";
import { Heading } from "./parts.js";
import { here, rest } from "./place.js";

const AT_ONCE = 3;
const SHOWN = 200; // lines; failures are shown before others

// -- what was dropped --------------------------------------------------------------------------

// All files below an entry, folder by folder; a browser hands out a hundred at a time.
async function* below(entry) {
  if (entry instanceof File) {
    yield entry; // dropped by a program that knows no folders
    return;
  }
  if (entry.isFile) {
    yield await new Promise((resolve, reject) => entry.file(resolve, reject));
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const one of some) yield* below(one);
  }
}

// -- one file ----------------------------------------------------------------------------------

// Send one file; `moved` hears how much of it is gone. Gives what became of it.
function upload(file, moved) {
  const zip = /\.zip$/i.test(file.name);
  const boundary = `gateway-${crypto.getRandomValues(new Uint32Array(4)).join("-")}`;
  const head = `--${boundary}\r\nContent-Type: application/dicom\r\n\r\n`;
  const body = zip ? file : new Blob([head, file, `\r\n--${boundary}--\r\n`]);
  const type = zip ? "application/zip" : `multipart/related; type="application/dicom"; boundary=${boundary}`;
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("POST", zip || !here.base ? `${rest}instances` : `${here.base}studies`);
    request.setRequestHeader("Content-Type", zip || here.base ? type : "application/dicom");
    request.setRequestHeader("Accept", "application/dicom+json, application/json");
    request.upload.onprogress = (event) => moved(event.loaded / (event.total || 1));
    request.onload = () => resolve(outcome(request));
    request.onerror = () => resolve({ state: "failed", why: "The server cannot be reached." });
    request.send(zip || here.base ? body : file);
  });
}

function outcome(request) {
  let told;
  try {
    told = JSON.parse(request.responseText);
  } catch {
    told = {};
  }
  if (Array.isArray(told)) return ofZip(told);
  const failed = told["00081198"]?.Value || told["0008119A"]?.Value || [];
  if (failed.length) return { state: "refused", why: reason(failed[0]) };
  if (request.status >= 200 && request.status < 300) return { state: "stored", why: "" };
  const why = told.Details || told.Message || `The server answered ${request.status}.`;
  return { state: request.status === 403 || request.status === 401 ? "failed" : "refused", why };
}

function ofZip(told) {
  const bad = told.filter((one) => one.Status === "Failure").length;
  if (!told.length) return { state: "refused", why: "There is no DICOM file in it." };
  const why = `${count(told.length - bad, "instance", "instances")} stored${bad ? `, ${bad} refused` : ""}`;
  return { state: bad ? "refused" : "stored", why };
}

const REASONS = {
  272: "it could not be processed",
  273: "another file with the same identifier is already held",
  42752: "there is no room left",
  49152: "it is not a DICOM file that can be kept",
};

function reason(item) {
  const code = item["00081197"]?.Value?.[0];
  return item["00000902"]?.Value?.[0] || REASONS[code] || `reason ${code}`;
}

// -- the screen --------------------------------------------------------------------------------

const ORDER = { refused: 0, failed: 0, sending: 1, waiting: 2, stored: 3 };

export function Upload({ known }) {
  const [over, setOver] = useState(false);
  const files = useRef([]);
  const [, redraw] = useReducer((turn) => turn + 1, 0);
  const sending = useRef(0);
  useEffect(() => {
    const leaving = (event) => sending.current && event.preventDefault();
    addEventListener("beforeunload", leaving);
    return () => removeEventListener("beforeunload", leaving);
  }, []);

  const next = async () => {
    const one = sending.current < AT_ONCE && files.current.find((file) => file.state === "waiting");
    if (!one) return;
    one.state = "sending";
    sending.current += 1;
    redraw();
    next();
    const end = await upload(one.file, (share) => {
      one.share = share;
      redraw();
    });
    Object.assign(one, end, { share: 1, file: undefined });
    sending.current -= 1;
    redraw();
    next();
  };
  const add = (file) => {
    const name = file.webkitRelativePath || file.name;
    files.current.push({ key: files.current.length, name, size: file.size, state: "waiting", share: 0, file });
    redraw();
    next();
  };
  const dropped = async (event) => {
    event.preventDefault();
    setOver(false);
    // The list is gone once this returns to the browser: take the entries now.
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry() || item.getAsFile()).filter(Boolean);
    for (const entry of entries) for await (const file of below(entry)) add(file);
  };
  const dragged = (event) => {
    event.preventDefault();
    setOver(true);
  };
  const picked = (event) => {
    for (const file of event.target.files) add(file);
    event.target.value = "";
  };
  if (known.readOnly) return html`<${Heading}>Upload<//><p class="notice">This gateway is read-only.</p>`;
  return html`
    <${Heading}>Upload<//>
    <div class=${over ? "drop over" : "drop"} onDragOver=${dragged} onDragLeave=${() => setOver(false)} onDrop=${dropped}>
      <p>Drop DICOM files, folders or zip files here.</p>
      <div class="row">
        <${Pick} label="Choose files" picked=${picked} />
        <${Pick} label="Choose a folder" folder picked=${picked} />
      </div>
    </div>
    <${Progress} files=${files.current} />
  `;
}

function Pick({ label, folder, picked }) {
  const input = useRef();
  useEffect(() => {
    if (folder) input.current.webkitdirectory = true;
  }, []);
  return html`<button onClick=${() => input.current.click()}>${label}</button>
    <input ref=${input} type="file" multiple hidden aria-label=${label} onChange=${picked} />`;
}

function Progress({ files }) {
  if (!files.length) return null;
  const number = (...states) => files.filter((one) => states.includes(one.state)).length;
  const total = files.reduce((sum, one) => sum + one.size, 0);
  const gone = files.reduce((sum, one) => sum + one.size * one.share, 0);
  const bad = number("refused", "failed");
  const shown = [...files].sort((a, b) => ORDER[a.state] - ORDER[b.state] || a.key - b.key).slice(0, SHOWN);
  return html`<section class="sheet" aria-labelledby="upload-progress">
    <h2 id="upload-progress">Progress</h2>
    <progress aria-label="All files" value=${gone} max=${total || 1}></progress>
    <p role="status">
      ${count(number("stored"), "file", "files")} of ${count(files.length, "file", "files")} stored
      (${`${bytes(gone)} of ${bytes(total)}`})${bad ? html`, <span class="bad">${bad} not</span>` : ""}
    </p>
    ${files.length > SHOWN && html`<p class="small quiet">The list below shows ${SHOWN} of them, what was refused first.</p>`}
    <table class="cards">
      <caption class="hidden-label">Files</caption>
      <thead>
        <tr><th scope="col">File</th><th scope="col" class="number">Size</th><th scope="col">What became of it</th></tr>
      </thead>
      <tbody>
        ${shown.map(
          (one) => html`<tr key=${one.key}>
            <td data-label="File">${one.name}</td>
            <td data-label="Size" class="number">${bytes(one.size)}</td>
            <td data-label="State"><${Fate} one=${one} /></td>
          </tr>`,
        )}
      </tbody>
    </table>
  </section>`;
}

function Fate({ one }) {
  if (one.state === "sending") return html`<progress aria-label="Progress of ${one.name}" value=${one.share} max="1"></progress>`;
  const colour = { stored: "good", refused: "bad", failed: "bad" }[one.state] || "quiet";
  return html`<span class="state ${colour}">${one.state}</span>${one.why && html`<span>: ${one.why}</span>`}`;
}
