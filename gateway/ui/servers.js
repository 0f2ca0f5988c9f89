// The remote servers: to be searched, and to be added, changed, tried and removed.

import { html, useState } from "./vendor/preact.js";
import { Busy, Confirm, Crumbs, Dialog, Fault, Field, Heading, useAnswer } from "./parts.js";
import { json, remote, send, servers } from "./place.js";

const SECRET = ["Password", "CertificateKeyPassword"];
const TICKS = [
  ["HasDelete", "It lets us delete", false],
  ["ChunkedTransfers", "It takes chunked transfers", true],
  ["HasWadoRsUniversalTransferSyntax", "It understands transfer-syntax=*", true],
];

const yes = (value, usual) => (value === undefined ? usual : ["1", "true", true].includes(value));

export function Remote({ known }) {
  const names = useAnswer(() => json(servers), []);
  return html`
    <${Heading}>Remote servers<//>
    <p><a href="#/servers">${known.readOnly ? "How they are set up" : "Add, change or remove servers"}</a></p>
    ${names.busy && html`<${Busy} />`}
    <${Fault} error=${names.error} />
    ${names.value?.length === 0 && html`<p class="notice">No remote server is known yet.</p>`}
    <ul class="tiles">
      ${(names.value || []).map(
        (name) => html`<li class="tile">
          <div class="text">
            <a href="#/remote/${encodeURIComponent(name)}"><strong class="break">${name}</strong></a>
            <span class="small quiet">Search, look, retrieve</span>
          </div>
        </li>`,
      )}
    </ul>
  `;
}

export function Servers({ known }) {
  const list = useAnswer(() => json(`${servers}?expand`), []);
  const [open, setOpen] = useState(null);
  const close = () => setOpen(null);
  const done = () => {
    close();
    list.again();
  };
  const entries = Object.entries(list.value || {});
  return html`
    <${Crumbs} steps=${[["Remote servers", "#/remote"], ["Set-up"]]} />
    <${Heading}>Set-up of remote servers<//>
    ${!known.readOnly && html`<p><button class="main" onClick=${() => setOpen(["edit", "", {}])}>Add a server</button></p>`}
    ${!list.value && list.busy && html`<${Busy} />`}
    <${Fault} error=${list.error} />
    ${list.value && !entries.length && html`<p class="notice">No remote server is known yet.</p>`}
    ${entries.map(
      ([name, server]) => html`<section class="sheet" aria-label=${name}>
        <h2 class="break">${name}</h2>
        <p class="break">${server.Url}${server.Username && ` as ${server.Username}`}</p>
        <div class="row">
          <a class="button" href="#/remote/${encodeURIComponent(name)}">Search</a>
          <${Try} name=${name} />
          ${!known.readOnly &&
          html`<button onClick=${() => setOpen(["edit", name, server])}>Change</button>
            <button class="danger" onClick=${() => setOpen(["remove", name])}>Remove</button>`}
        </div>
      </section>`,
    )}
    ${open?.[0] === "edit" && html`<${Edit} name=${open[1]} server=${open[2]} ...${{ close, done }} />`}
    ${open?.[0] === "remove" && html`<${Remove} name=${open[1]} ...${{ close, done }} />`}
  `;
}

// Whether it answers a search.
function Try({ name }) {
  const [state, setState] = useState();
  const go = async () => {
    setState({ busy: true });
    try {
      await json(`${remote(name).base}studies?limit=1`);
      setState({ fine: true });
    } catch (error) {
      setState({ error });
    }
  };
  return html`<button onClick=${go} disabled=${state?.busy}>Test</button>
    <span role="status">
      ${state?.busy && "asking"} ${state?.fine && html`<span class="good">it answers</span>`}
      ${state?.error && html`<span class="bad">${state.error.message}</span>`}
    </span>`;
}

function Remove({ name, close, done }) {
  const act = async () => {
    await send("DELETE", `${servers}/${encodeURIComponent(name)}`);
    done();
  };
  return html`<${Confirm} title="Remove ${name}?" button="Remove" danger ...${{ close, act }}>
    <p>The server is forgotten here. Nothing changes at the server itself.</p>
  <//>`;
}

function Edit({ name, server, close, done }) {
  const [error, setError] = useState();
  const save = async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    const fields = kept(server);
    for (const key of ["Url", "Username", "Password"]) if (form.get(key)) fields[key] = form.get(key);
    if (form.get("Timeout")) fields.Timeout = Number(form.get("Timeout"));
    for (const [key] of TICKS) fields[key] = form.has(key);
    try {
      await send("PUT", `${servers}/${encodeURIComponent(form.get("Name").trim())}`, fields);
      done();
    } catch (failure) {
      setError(failure);
    }
  };
  const hidden = [...SECRET, "HttpHeaders"].filter((key) => key in server);
  return html`<${Dialog} title=${name ? `Change ${name}` : "Add a server"} close=${close}>
    <form onSubmit=${save}>
      <div class="fields">
        <${Field} label="Name"><input name="Name" required value=${name} readonly=${Boolean(name)} /><//>
        <${Field} label="Address (URL)"><input name="Url" type="url" required value=${server.Url || ""} placeholder="https://pacs.example.org/dicom-web/" /><//>
        <${Field} label="User name"><input name="Username" autocomplete="off" value=${server.Username || ""} /><//>
        <${Field} label="Password"><input name="Password" type="password" autocomplete="new-password" /><//>
        <${Field} label="Timeout in seconds (0: the usual)"><input name="Timeout" type="number" min="0" value=${server.Timeout ?? 0} /><//>
      </div>
      ${TICKS.map(
        ([key, label, usual]) =>
          html`<label class="tick"><input type="checkbox" name=${key} checked=${yes(server[key], usual)} />${label}</label>`,
      )}
      ${hidden.length > 0 &&
      html`<p class="notice">Not shown here, and to be given again when the server is changed: ${hidden.join(", ")}.</p>`}
      <${Fault} error=${error} />
      <div class="foot">
        <button type="button" onClick=${close}>Cancel</button>
        <button class="main">Save</button>
      </div>
    </form>
  <//>`;
}

// What the form does not show stays as it is.
function kept(server) {
  const shown = ["Url", "Username", "Password", "HttpHeaders", "CertificateKeyPassword", "Timeout", ...TICKS.map(([key]) => key)];
  return Object.fromEntries(Object.entries(server).filter(([key, value]) => !shown.includes(key) && value !== null));
}
