// What the gateway is, holds and does.

import { html, useRef } from "./vendor/preact.js";
import { bytes } from "./dicom.js";
import { Busy, Fault, Heading, useAnswer, useEvery } from "./parts.js";
import { json, rest } from "./place.js";

const MEGABYTE = 1024 * 1024;

async function read(signal) {
  const [system, statistics] = await Promise.all([
    json(`${rest}system`, { signal }),
    json(`${rest}statistics`, { signal }),
  ]);
  const ready = await fetch(`${rest}health/ready`, { signal }).then(
    async (response) => ({ fine: response.ok, told: await response.json().catch(() => ({})) }),
    () => ({ fine: false, told: {} }),
  );
  return { system, statistics, ready, at: performance.now() };
}

export function Status() {
  const found = useAnswer(read, []);
  const before = useRef();
  useEvery(3000, found);
  const rate = useRate(found.value, before);
  if (!found.value) return html`<${Heading}>Status<//>${found.busy && html`<${Busy} />`}<${Fault} error=${found.error} />`;
  const { system, statistics } = found.value;
  const rows = (pairs) => html`<dl class="facts">
    ${pairs.filter(([, value]) => value !== undefined && value !== "").map(([label, value]) => html`<dt>${label}</dt><dd>${value}</dd>`)}
  </dl>`;
  const plain = (value) => Number(value).toLocaleString("en");
  const room = system.MaximumStorageSize ? bytes(system.MaximumStorageSize * MEGABYTE) : "no limit";
  return html`
    <${Heading}>Status<//>
    <${Fault} error=${found.error} />
    <${Warnings} ...${found.value} />
    <section class="sheet">
      <h2>What is held</h2>
      ${rows([
        ["Patients", plain(statistics.CountPatients)],
        ["Studies", plain(statistics.CountStudies)],
        ["Series", plain(statistics.CountSeries)],
        ["Instances", plain(statistics.CountInstances)],
        ["Size", bytes(statistics.TotalDiskSize)],
        ["Limit", `${room}${system.MaximumStorageSize ? ` (${system.MaximumStorageMode})` : ""}`],
        ["Coming in", rate],
      ])}
    </section>
    <section class="sheet">
      <h2>What this is</h2>
      ${rows([
        ["Name", system.Name],
        ["Software", "dicomweb-gateway"],
        ["Version", system.Version],
        ["Orthanc's REST", `version ${system.ApiVersion}`],
        ["Overwriting", system.OverwriteInstancesMode],
        ["Read-only", system.ReadOnly ? "yes" : "no"],
        ["This page", location.origin],
      ])}
      <p class="row small">
        <a href="#/api">What may be asked (OpenAPI)</a> <a href="${rest}docs/">Manual</a> <a href="${rest}metrics">Metrics</a>
      </p>
    </section>
  `;
}

// How much more is held than at the last look.
function useRate(value, before) {
  if (!value) return "";
  const held = { size: Number(value.statistics.TotalDiskSize), count: value.statistics.CountInstances, at: value.at };
  const last = before.current;
  if (!last) {
    before.current = { now: held };
    return "";
  }
  if (last.now.at !== held.at) before.current = { now: held, then: last.now };
  const { now, then } = before.current;
  if (!then) return "";
  const passed = (now.at - then.at) / 1000;
  const size = Math.max(0, now.size - then.size) / passed;
  return `${bytes(size)}/s, ${Math.max(0, (now.count - then.count) / passed).toFixed(1)} instances/s`;
}

function Warnings({ system, statistics, ready }) {
  const told = [];
  if (!ready.fine) told.push(ready.told.Details || ready.told.Reason || "The gateway is not ready to work.");
  const limit = system.MaximumStorageSize * MEGABYTE;
  if (limit && Number(statistics.TotalDiskSize) > limit * 0.9) told.push("More than nine tenths of the room are used.");
  if (!system.IsHttpServerSecure) told.push("Other machines can come in without a password.");
  if (!told.length) return html`<p class="good" role="status">Everything is well.</p>`;
  return told.map((text) => html`<p class="notice error" role="alert">${text}</p>`);
}
