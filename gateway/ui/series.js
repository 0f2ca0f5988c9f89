// One series: its instances, a page at a time.

import { html, useState } from "./vendor/preact.js";
import { Actions, describeStudy } from "./actions.js";
import { TAG, count, personName, text } from "./dicom.js";
import { Busy, Crumbs, Fault, Heading, Pages, Picture, useAnswer, useRemembered } from "./parts.js";
import { json, source, studyPath } from "./place.js";
import { Others, askStudy, base, crumbs, ofPatient } from "./study.js";

const SIZE = 60;

export function Series({ server, study, series, query, known }) {
  const from = source(server);
  const patient = query.get("patient");
  const [offset, setOffset] = useState(() => Number(query.get("offset")) || 0);
  useRemembered({ patient, offset });
  const parent = useAnswer((signal) => askStudy(from, study, patient, signal), [from.base, study, patient]);
  const found = useAnswer(
    (signal) =>
      json(`${from.base}${studyPath(study)}/series?SeriesInstanceUID=${series}&includefield=SeriesDescription`, {
        signal,
      }).then(([one]) => one || Promise.reject(new Error("This series is not here (any more)."))),
    [from.base, study, series],
  );
  const list = useAnswer(
    (signal) =>
      json(`${from.base}${studyPath(study, series)}/instances?limit=${SIZE + 1}&offset=${offset}&includefield=SOPClassUID`, {
        signal,
      }),
    [from.base, study, series, offset],
  );
  const label = found.value ? text(found.value, TAG.seriesDescription) || `Series ${text(found.value, TAG.seriesNumber)}` : "Series";
  const about = parent.value && `series ${label} of the ${describeStudy(parent.value)}`;
  const held = found.value && text(found.value, TAG.instancesOfSeries);
  const owner = parent.value && text(parent.value, TAG.patient);
  const what = { level: "Series", study, series, patient: owner, about, contents: held && count(held, "instance", "instances") };
  const gone = () => {
    location.hash = `${base(server)}/studies/${study}${ofPatient(patient)}`;
  };
  const name = parent.value ? personName(parent.value) || "Study" : "Study";
  return html`
    <${Crumbs} steps=${[...crumbs(server), [name, `${base(server)}/studies/${study}${ofPatient(patient)}`], [label]]} />
    <${Heading}>${label}<//>
    <${Fault} error=${found.error || parent.error} />
    <${Others} study=${parent.value} />
    ${found.value &&
    parent.value &&
    html`<section class="sheet">
      <p class="quiet">${text(found.value, TAG.modality)} ${what.contents}</p>
      <div class="row">
        <a class="button" href="${base(server)}/view/${study}/${series}${ofPatient(patient)}">View</a>
        <${Actions} ...${{ what, server, known, gone }} />
      </div>
    </section>`}
    <h2>Instances</h2>
    ${!list.value && list.busy && html`<${Busy} />`}
    <${Fault} error=${list.error} />
    <ul class="tiles">
      ${(list.value || [])
        .slice(0, SIZE)
        .map((one) => html`<${Tile} key=${text(one, TAG.instance)} ...${{ one, study, series, server, from, known, about, owner }} gone=${list.again} />`)}
    </ul>
    <${Pages} ...${{ offset, size: SIZE }} more=${(list.value || []).length > SIZE} go=${setOffset} />
  `;
}

function Tile({ one, study, series, server, from, known, about, owner, gone }) {
  const uid = text(one, TAG.instance);
  const number = text(one, TAG.instanceNumber);
  const label = number ? `Instance ${number}` : "Instance";
  const frames = text(one, TAG.frames);
  const what = { level: "Instance", study, series, instance: uid, patient: owner, about: `${label.toLowerCase()} (${uid}) of the ${about}`, contents: "" };
  return html`<li class="tile">
    <a href="${base(server)}/view/${study}/${series}${ofPatient(owner, { instance: uid })}" aria-label="View ${label}">
      <${Picture} address="${from.base}${studyPath(study, series, uid)}/thumbnail" label="" />
    </a>
    <div class="text">
      <strong>${label}</strong>
      <span class="small quiet">${frames > 1 ? count(frames, "frame", "frames") : size(one)}</span>
      <details>
        <summary class="small">More<span class="hidden-label"> about ${label.toLowerCase()}</span></summary>
        <${Actions} ...${{ what, server, known, gone }} />
      </details>
    </div>
  </li>`;
}

function size(one) {
  const rows = text(one, TAG.rows);
  return rows && `${text(one, TAG.columns)} × ${rows}`;
}
