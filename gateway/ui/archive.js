// The studies of this archive, or of a remote one: searched as one types, a page at a time.

import { html, useState } from "./vendor/preact.js";
import { TAG, count, date, personName, text } from "./dicom.js";
import { Busy, Crumbs, Fault, Field, Heading, Pages, useAnswer, useLater, useRemembered } from "./parts.js";
import { json, source } from "./place.js";
import { StudyActions } from "./actions.js";

const SIZE = 50;

const FIELDS = [
  ["PatientName", "Patient name"],
  ["PatientID", "Patient ID"],
  ["from", "Study date from"],
  ["to", "Study date to"],
  ["ModalitiesInStudy", "Modality"],
  ["AccessionNumber", "Accession number"],
  ["StudyID", "Study ID"],
];

// The newest first; other servers may not know it.
const ORDER = "-StudyDate,-StudyTime";

const MORE = ["StudyDescription", "NumberOfStudyRelatedInstances", "NumberOfStudyRelatedSeries", "PatientBirthDate"];

// What is typed, as QIDO-RS wants it (PS3.18 8.3.4).
function asked(fields, offset, remote) {
  const query = new URLSearchParams({ limit: SIZE + 1, offset, includefield: MORE.join(",") });
  if (!remote) query.set("orderby", ORDER);
  const plain = (value) => (value || "").trim();
  const from = plain(fields.from).replaceAll("-", "");
  const to = plain(fields.to).replaceAll("-", "");
  if (from || to) query.set("StudyDate", from === to ? from : `${from}-${to}`);
  for (const name of ["PatientName", "PatientID", "AccessionNumber", "StudyID"]) {
    const value = plain(fields[name]);
    if (value) query.set(name, `*${value.split(/[\s,^]+/).join("*")}*`);
  }
  const modality = plain(fields.ModalitiesInStudy).toUpperCase();
  if (modality) query.set("ModalitiesInStudy", modality);
  return query.toString();
}

export function Archive({ server, query, known }) {
  const from = source(server);
  const [fields, setFields] = useState(() => Object.fromEntries(FIELDS.map(([name]) => [name, query.get(name) || ""])));
  const [offset, setOffset] = useState(() => Number(query.get("offset")) || 0);
  const typed = useLater(fields, 250);
  const question = asked(typed, offset, Boolean(server));
  const found = useAnswer((signal) => json(`${from.base}studies?${question}`, { signal }), [from.base, question]);
  useRemembered({ ...typed, offset });
  const change = (name) => (event) => {
    setOffset(0);
    setFields({ ...fields, [name]: event.target.value });
  };
  const clear = () => {
    setOffset(0);
    setFields(Object.fromEntries(FIELDS.map(([name]) => [name, ""])));
  };
  const base = server ? `#/remote/${encodeURIComponent(server)}` : "#";
  return html`
    ${server && html`<${Crumbs} steps=${[["Remote servers", "#/remote"], [server]]} />`}
    <${Heading}>${server ? `Studies of ${server}` : "Studies"}<//>
    <form class="sheet" role="search" onSubmit=${(event) => event.preventDefault()}>
      <div class="fields">
        ${FIELDS.map(
          ([name, label]) => html`<${Field} label=${label}>
            <input
              name=${name}
              type=${name === "from" || name === "to" ? "date" : "search"}
              autocomplete="off"
              value=${fields[name]}
              onInput=${change(name)}
            />
          <//>`,
        )}
      </div>
      <div class="row apart">
        <span class="quiet small" role="status">${told(found, offset)}</span>
        <button type="button" onClick=${clear}>Clear</button>
      </div>
    </form>
    <${Fault} error=${found.error} />
    ${!found.value && found.busy && html`<${Busy} />`}
    ${found.value &&
    html`<${Studies} studies=${found.value.slice(0, SIZE)} base=${base} server=${server} known=${known} again=${found.again} />
      <${Pages} offset=${offset} size=${SIZE} more=${found.value.length > SIZE} go=${setOffset} />`}
  `;
}

function told(found, offset) {
  if (found.busy) return "Searching";
  if (found.error) return "";
  const more = found.value.length > SIZE;
  if (!found.value.length) return offset ? "No more studies" : "No study matches";
  if (!more && !offset) return count(found.value.length, "study", "studies");
  return `Studies ${offset + 1} to ${offset + Math.min(SIZE, found.value.length)}${more ? ", and there are more" : ""}`;
}

function Studies({ studies, base, server, known, again }) {
  if (!studies.length) {
    return html`<p class="sheet">
      Nothing is here.
      ${!server && !known.readOnly && html` <a href="#/upload">Upload files</a> to fill the archive.`}
    </p>`;
  }
  return html`<div class="sheet scroll">
    <table class="cards">
      <caption class="hidden-label">Studies found</caption>
      <thead>
        <tr>
          <th scope="col">Patient</th>
          <th scope="col">Patient ID</th>
          <th scope="col">Study date</th>
          <th scope="col">Modality</th>
          <th scope="col">Description</th>
          <th scope="col">Accession</th>
          <th scope="col">Study ID</th>
          <th scope="col" class="number">Series</th>
          <th scope="col" class="number">Instances</th>
          <th scope="col"><span class="hidden-label">What to do</span></th>
        </tr>
      </thead>
      <tbody>
        ${studies.map((study) => html`<${Line} key=${`${text(study, TAG.study)} ${text(study, TAG.patient)}`} ...${{ study, base, server, known, again }} />`)}
      </tbody>
    </table>
  </div>`;
}

function Line({ study, base, server, known, again }) {
  const patient = text(study, TAG.patient);
  const address = `${base}/studies/${text(study, TAG.study)}${patient && `?patient=${encodeURIComponent(patient)}`}`;
  return html`<tr>
    <td data-label="Patient"><a href=${address}>${personName(study) || "(no name)"}</a></td>
    <td data-label="Patient ID">${patient}</td>
    <td data-label="Study date" class="nowrap">${date(study, TAG.studyDate)}</td>
    <td data-label="Modality">${text(study, TAG.modalities)}</td>
    <td data-label="Description" class="words">${text(study, TAG.studyDescription)}</td>
    <td data-label="Accession">${text(study, TAG.accession)}</td>
    <td data-label="Study ID">${text(study, TAG.studyId)}</td>
    <td data-label="Series" class="number">${text(study, TAG.seriesOfStudy)}</td>
    <td data-label="Instances" class="number">${text(study, TAG.instances)}</td>
    <td class="actions"><${StudyActions} short ...${{ study, server, known }} gone=${again} /></td>
  </tr>`;
}
