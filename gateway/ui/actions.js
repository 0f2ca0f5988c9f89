// What can be done with a study, series or instance, here or at a remote server.

import { html, useState } from "./vendor/preact.js";
import { TAG, attributes, count, date, personName, text } from "./dicom.js";
import { Busy, Confirm, Dialog, Fault, Field, useAnswer } from "./parts.js";
import { allowed, ask, here, identifiers, json, rest, send, servers, source, studyPath } from "./place.js";

// -- sentences that name what something is about -------------------------------------------

export function describeStudy(study) {
  const facts = [
    `study “${text(study, TAG.studyDescription) || text(study, TAG.study)}”`,
    `of ${personName(study) || "a patient without name"}`,
    text(study, TAG.patient) && `(ID ${text(study, TAG.patient)})`,
    date(study, TAG.studyDate) && `of ${date(study, TAG.studyDate)}`,
  ];
  return facts.filter(Boolean).join(" ");
}

function contents(study) {
  const series = text(study, TAG.seriesOfStudy);
  const instances = text(study, TAG.instances);
  const parts = [series && count(series, "series", "series"), instances && count(instances, "instance", "instances")];
  return parts.filter(Boolean).join(" with ");
}

// -- buttons ---------------------------------------------------------------------------------

export function StudyActions({ study, server, known, short, gone }) {
  const uid = text(study, TAG.study);
  const what = {
    level: "Study",
    study: uid,
    patient: text(study, TAG.patient),
    about: describeStudy(study),
    contents: contents(study),
  };
  return html`<${Actions} ...${{ what, server, known, short, gone }} />`;
}

export function Actions({ what, server, known, short, gone }) {
  const [open, setOpen] = useState("");
  const close = () => setOpen("");
  const path = studyPath(what.study, what.series, what.instance);
  const write = !known.readOnly;
  const remote = useAnswer(() => (server ? allowed(server) : Promise.resolve([])), [server]);
  const button = (name, label, danger) =>
    html`<button class=${danger ? "danger" : ""} onClick=${() => setOpen(name)}>${label}</button>`;
  return html`<div class="row">
    ${!short && html`<${Opens} ...${{ what, server, known }} />`}
    ${!short && html`<${Downloads} ...${{ what, server, path }} />`}
    ${server ? write && button("retrieve", "Retrieve") : servers && button("send", "Send")}
    ${!short && button("attributes", "Attributes")}
    ${(server ? remote.value?.includes("delete") : write) && button("delete", "Delete", true)}
    ${open === "send" && html`<${Send} ...${{ what, close }} />`}
    ${open === "retrieve" && html`<${Retrieve} ...${{ what, server, close }} />`}
    ${open === "attributes" && html`<${Attributes} ...${{ path, server, close, title: what.about }} />`}
    ${open === "delete" && html`<${Delete} ...${{ what, server, path, close, gone }} />`}
  </div>`;
}

function Downloads({ what, server, path }) {
  const from = source(server);
  const link = (type, label) =>
    html`<a class="button" href="${from.base}${path}?accept=${encodeURIComponent(type)}" download>${label}</a>`;
  return html`${what.instance && link("application/dicom", "Download DICOM")}
  ${!server && link("application/zip", "Download zip")}`;
}

function Opens({ what, server, known }) {
  if (server || what.instance) return null;
  const fill = (template) =>
    template.replace(/\{(\w+)\}/g, (whole, name) => {
      const values = { StudyInstanceUID: what.study, SeriesInstanceUID: what.series || "", DicomWebRoot: here.base };
      return name in values ? encodeURIComponent(values[name]) : whole;
    });
  return known.viewers.map(
    ({ name, url }) => html`<a class="button" href=${fill(url)} target="_blank" rel="noopener">Open in ${name}</a>`,
  );
}

function Delete({ what, server, path, close, gone }) {
  const act = async () => {
    await (server ? ask(`${source(server).base}${path}`, { method: "DELETE" }) : deleteHere(what));
    close();
    gone?.();
  };
  return html`<${Confirm} title="Delete this ${what.level.toLowerCase()}?" button="Delete" danger ...${{ close, act }}>
    <p>The ${what.about} will be deleted${server ? ` at ${server}` : ""}${what.contents && `: ${what.contents}`}.</p>
    <p><strong>This cannot be undone.</strong></p>
  <//>`;
}

async function deleteHere(what) {
  const place = { Study: "studies", Series: "series", Instance: "instances" }[what.level];
  const found = await identifiers(what);
  if (!found.length) throw new Error("It is not here any more.");
  for (const id of found) await ask(`${rest}${place}/${id}`, { method: "DELETE" });
}

function Retrieve({ what, server, close }) {
  const act = async () => {
    const one = { Study: what.study };
    if (what.series) one.Series = what.series;
    if (what.instance) one.Instance = what.instance;
    await send("POST", `${servers}/${encodeURIComponent(server)}/retrieve`, { Resources: [one], Synchronous: false });
    location.hash = "#/jobs";
  };
  return html`<${Confirm} title="Retrieve into the archive?" button="Retrieve" ...${{ close, act }}>
    <p>The ${what.about} will be fetched from ${server}. What is already here is not fetched again.</p>
  <//>`;
}

function Send({ what, close }) {
  const names = useAnswer(() => json(servers), []);
  const [chosen, setChosen] = useState("");
  const to = chosen || names.value?.[0];
  const act = async () => {
    const found = await identifiers(what);
    await send("POST", `${servers}/${encodeURIComponent(to)}/stow`, { Resources: found, Synchronous: false });
    location.hash = "#/jobs";
  };
  if (!names.value?.length) {
    return html`<${Dialog} title="Send to a server" close=${close}>
      ${names.busy && html`<${Busy} />`}
      <${Fault} error=${names.error} />
      ${names.value && html`<p>No server is known yet. <a href="#/servers">Add one</a>.</p>`}
      <div class="foot"><button onClick=${close}>Close</button></div>
    <//>`;
  }
  return html`<${Confirm} title="Send to a server" button="Send" ...${{ close, act }}>
    <p>The ${what.about}.</p>
    <${Field} label="Server">
      <select value=${to} onChange=${(event) => setChosen(event.target.value)}>
        ${names.value.map((name) => html`<option value=${name}>${name}</option>`)}
      </select>
    <//>
  <//>`;
}

// -- attributes ------------------------------------------------------------------------------

const XML = { Accept: 'multipart/related; type="application/dicom+xml"' };

// The attributes of one instance: of the first one where a study or series is meant.
async function read(base, path, signal) {
  let one = path;
  if (!path.includes("/instances/")) {
    const [first] = await json(`${base}${path}/instances?limit=1&includefield=StudyInstanceUID,SeriesInstanceUID`, { signal });
    if (!first) throw new Error("There is no instance in it.");
    const [, study] = path.split("/");
    one = studyPath(study, text(first, TAG.series) || path.split("/")[3], text(first, TAG.instance));
  }
  const response = await ask(`${base}${one}/metadata`, { headers: XML, signal });
  return attributes(await response.text());
}

export function Attributes({ path, server, title, close }) {
  const from = source(server);
  const found = useAnswer((signal) => read(from.base, path, signal), [path]);
  const [wanted, setWanted] = useState("");
  const lower = wanted.trim().toLowerCase();
  const fits = (row) => !lower || `${row.tag} ${row.name} ${row.value}`.toLowerCase().includes(lower);
  const rows = (found.value || []).filter(fits);
  return html`<${Dialog} title="Attributes" wide close=${close}>
    <p class="small quiet">${path.includes("/instances/") ? "Of the" : "Of the first instance of the"} ${title}</p>
    <${Field} label="Search in tags, names and values">
      <input type="search" value=${wanted} onInput=${(event) => setWanted(event.target.value)} />
    <//>
    ${found.busy && html`<${Busy} />`}
    <${Fault} error=${found.error} />
    <p class="small quiet" role="status">${found.value && count(rows.length, "attribute", "attributes")}</p>
    <div class="scroll" tabindex="0" role="region" aria-label="List of attributes">
      <table>
        <thead>
          <tr><th scope="col">Tag</th><th scope="col">Name</th><th scope="col">VR</th><th scope="col">Value</th></tr>
        </thead>
        <tbody>
          ${rows.map(
            (row) => html`<tr>
              <td class="nowrap">${row.tag && `${row.tag.slice(0, 4)},${row.tag.slice(4)}`}</td>
              <td>${"\u2003".repeat(row.depth)}${row.name}</td>
              <td>${row.vr}</td>
              <td>${row.value.length > 500 ? `${row.value.slice(0, 500)} …` : row.value}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
    <div class="foot"><button onClick=${close}>Close</button></div>
  <//>`;
}

