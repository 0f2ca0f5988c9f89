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

// The study, of that patient if several have one with this UID; `others` are theirs.
export async function askStudy(from, study, patient, signal) {
  const found = await json(`${from.base}studies?StudyInstanceUID=${study}&includefield=${MORE}`, { signal });
  const one = found.find((each) => text(each, TAG.patient) === (patient ?? "")) || found[0];
  if (!one) throw new Error("This study is not here (any more).");
  return { ...one, others: found.filter((each) => each !== one) };
}

// What follows an address so that it stays with the patient.
export function ofPatient(patient, more = {}) {
  const query = new URLSearchParams({ ...(patient ? { patient } : {}), ...more }).toString();
  return query && `?${query}`;
}

// Whose series are shown as well.
export function Others({ study }) {
  if (!study?.others.length) return null;
  const names = study.others.map((one) => `${personName(one) || "a patient without name"} (ID ${text(one, TAG.patient)})`);
  return html`<p class="notice error" role="alert">
    Studies of other patients have the same StudyInstanceUID: ${names.join(", ")}. Their series and pictures are shown here too.
  </p>`;
}

export function Study({ server, study, query, known }) {
  const from = source(server);
  const patient = query.get("patient");
  const found = useAnswer((signal) => askStudy(from, study, patient, signal), [from.base, study, patient]);
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
    <${Others} study=${found.value} />
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
      ${(series.value || []).map((one) => html`<${Tile} key=${text(one, TAG.series)} ...${{ one, study, server, from, patient }} />`)}
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

function Tile({ one, study, server, from, patient }) {
  const uid = text(one, TAG.series);
  const label = text(one, TAG.seriesDescription) || `Series ${text(one, TAG.seriesNumber) || ""}`.trim();
  return html`<li class="tile">
    <a href="${base(server)}/view/${study}/${uid}${ofPatient(patient)}" aria-label="View ${label}">
      <${Picture} address="${from.base}${studyPath(study, uid)}/thumbnail" label="" />
    </a>
    <div class="text">
      <a href="${base(server)}/studies/${study}/series/${uid}${ofPatient(patient)}"><strong class="break">${label}</strong></a>
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
