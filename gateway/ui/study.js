// One study: who and when, and its series with a picture each.

import { html } from "./vendor/preact.js";
import { StudyActions } from "./actions.js";
import { TAG, count, date, personName, text, time } from "./dicom.js";
import { Busy, Crumbs, Fault, Heading, Picture, useAnswer } from "./parts.js";
import { json, source, studyPath } from "./place.js";

const MORE = "StudyDescription,PatientBirthDate,PatientSex,NumberOfStudyRelatedSeries,NumberOfStudyRelatedInstances";

export function base(server) {
  return server ? `#/remote/${encodeURIComponent(server)}` : "#";
}

export function crumbs(server) {
  return server ? [["Remote servers", "#/remote"], [server, base(server)]] : [["Archive", "#/"]];
}

export function askStudy(from, study, signal) {
  return json(`${from.base}studies?StudyInstanceUID=${study}&includefield=${MORE}`, { signal }).then(([found]) => {
    if (!found) throw new Error("This study is not here (any more).");
    return found;
  });
}

export function Study({ server, study, known }) {
  const from = source(server);
  const found = useAnswer((signal) => askStudy(from, study, signal), [from.base, study]);
  const series = useAnswer(
    (signal) => json(`${from.base}${studyPath(study)}/series?includefield=SeriesDescription,BodyPartExamined`, { signal }),
    [from.base, study],
  );
  const gone = () => {
    location.hash = server ? base(server) : "#/";
  };
  return html`
    <${Crumbs} steps=${[...crumbs(server), ["Study"]]} />
    <${Heading}>${found.value ? personName(found.value) || "Study without a patient's name" : "Study"}<//>
    <${Fault} error=${found.error} />
    ${found.value &&
    html`<section class="sheet">
      <${Facts} study=${found.value} />
      <h2 class="hidden-label">What to do</h2>
      <${StudyActions} study=${found.value} ...${{ server, known, gone }} />
    </section>`}
    <h2>Series</h2>
    ${series.busy && html`<${Busy} />`}
    <${Fault} error=${series.error} />
    <ul class="tiles">
      ${(series.value || []).map((one) => html`<${Tile} key=${text(one, TAG.series)} ...${{ one, study, server, from }} />`)}
    </ul>
  `;
}

function Facts({ study }) {
  const rows = [
    ["Patient ID", text(study, TAG.patient)],
    ["Born", date(study, TAG.birth)],
    ["Sex", text(study, TAG.sex)],
    ["Study", text(study, TAG.studyDescription)],
    ["Date", `${date(study, TAG.studyDate)} ${time(study, TAG.studyTime)}`.trim()],
    ["Accession", text(study, TAG.accession)],
    ["Study ID", text(study, TAG.studyId)],
    ["UID", text(study, TAG.study)],
  ];
  return html`<dl class="facts">
    ${rows.filter(([, value]) => value).map(([label, value]) => html`<dt>${label}</dt><dd>${value}</dd>`)}
  </dl>`;
}

function Tile({ one, study, server, from }) {
  const uid = text(one, TAG.series);
  const label = text(one, TAG.seriesDescription) || `Series ${text(one, TAG.seriesNumber) || ""}`.trim();
  return html`<li class="tile">
    <a href="${base(server)}/view/${study}/${uid}" aria-label="View ${label}">
      <${Picture} address="${from.base}${studyPath(study, uid)}/thumbnail" label="" />
    </a>
    <div class="text">
      <a href="${base(server)}/studies/${study}/series/${uid}"><strong class="break">${label}</strong></a>
      <span class="small quiet">
        ${[text(one, TAG.modality), text(one, TAG.bodyPart), instances(one)].filter(Boolean).join(", ")}
      </span>
    </div>
  </li>`;
}

function instances(one) {
  const found = text(one, TAG.instancesOfSeries);
  return found && count(found, "instance", "instances");
}
