// The jobs, as they go on.

import { html, useState } from "./vendor/preact.js";
import { bytes, count, seconds } from "./dicom.js";
import { Busy, Confirm, Fault, Heading, useAnswer, useEvery } from "./parts.js";
import { json, rest, send } from "./place.js";

const TYPES = {
  DicomWebStowClient: "Send",
  DicomWebWadoRetrieveClient: "Retrieve",
};

const COLOURS = { Success: "good", Failure: "bad" };

export function Jobs({ known }) {
  const found = useAnswer((signal) => json(`${rest}jobs?expand`, { signal, cache: "no-cache" }), []);
  useEvery(1000, found);
  const jobs = [...(found.value || [])].sort((a, b) => b.CreationTime.localeCompare(a.CreationTime));
  return html`
    <${Heading}>Jobs<//>
    ${!found.value && found.busy && html`<${Busy} />`}
    <${Fault} error=${found.error} />
    ${found.value && !jobs.length && html`<p class="notice">There is no job. Sending and retrieving makes one.</p>`}
    ${jobs.map((job) => html`<${Job} key=${job.ID} ...${{ job, known }} again=${found.again} />`)}
  `;
}

function Job({ job, known, again }) {
  const [error, setError] = useState();
  const [removing, setRemoving] = useState(false);
  const act = (name) => async () => {
    setError(undefined);
    try {
      await send("POST", `${rest}jobs/${job.ID}/${name}`);
      again();
    } catch (failure) {
      setError(failure);
    }
  };
  const remove = async () => {
    await send("DELETE", `${rest}jobs/${job.ID}`);
    setRemoving(false);
    again();
  };
  const going = ["Pending", "Running", "Retry"].includes(job.State);
  const label = `${TYPES[job.Type] || job.Type} ${job.Content?.Server ? `(${job.Content.Server})` : ""}`;
  const button = (name, text) => html`<button onClick=${act(name)}>${text}<span class="hidden-label"> ${label}</span></button>`;
  return html`<section class="sheet" aria-label=${label}>
    <div class="row apart">
      <h2>${label}</h2>
      <span class="state ${COLOURS[job.State] || ""}">${job.State}</span>
    </div>
    <progress aria-label="Progress of ${label}" value=${job.Progress} max="100"></progress>
    <p class="small">${facts(job).join(" · ")}</p>
    ${job.State === "Failure" && html`<p class="notice error">${wrong(job)}</p>`}
    ${job.State === "Retry" && html`<p class="notice">It will be tried again. ${wrong(job)}</p>`}
    <${Fault} error=${error} />
    ${!known.readOnly &&
    html`<div class="row">
      ${going && button("pause", "Pause")} ${job.State === "Paused" && button("resume", "Resume")}
      ${(going || job.State === "Paused") && button("cancel", "Cancel")} ${job.State === "Failure" && button("resubmit", "Try again")}
      ${["Success", "Failure"].includes(job.State) && html`<button onClick=${() => setRemoving(true)}>Remove</button>`}
      <details>
        <summary class="small">Details</summary>
        <pre tabindex="0">${JSON.stringify(job, null, 2)}</pre>
      </details>
    </div>`}
    ${removing &&
    html`<${Confirm} title="Remove this job from the list?" button="Remove" close=${() => setRemoving(false)} act=${remove}>
      <p>${label}: what it has sent or fetched stays as it is.</p>
    <//>`}
  </section>`;
}

function facts(job) {
  const content = job.Content || {};
  const running = job.State === "Running";
  const moved = content.SentSize ?? content.NetworkUsage;
  const size = moved && `${bytes(moved)}${content.TotalSize ? ` of ${bytes(content.TotalSize)}` : ""}`;
  const left = content.ExpectedSeconds ?? job.ExpectedSeconds;
  const held = Number(content.AlreadyHeldInstancesCount);
  return [
    `${job.Progress} %`,
    moves(content),
    held && `${count(held, "instance was", "instances were")} here already`,
    size,
    running && content.Speed && `${bytes(content.Speed)}/s`,
    running && left !== undefined && `${seconds(left)} left`,
    `ran ${seconds(Number(job.EffectiveRuntime) || 0)}`,
    `submitted ${when(job.CreationTime)}`,
  ].filter(Boolean);
}

function moves(content) {
  if (content.SentInstancesCount !== undefined) {
    return `${content.SentInstancesCount} of ${count(content.InstancesCount, "instance", "instances")} sent`;
  }
  const received = content.ReceivedInstancesCount;
  return received && `${count(received, "instance", "instances")} received`;
}

function when(stamp) {
  const found = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)/.exec(stamp || "");
  if (!found) return stamp;
  const [, year, month, day, hour, minute, second] = found.map(Number);
  return new Date(Date.UTC(year, month - 1, day, hour, minute, second)).toLocaleString();
}

function wrong(job) {
  return job.ErrorDetails || job.FunctionErrorDetails || job.ErrorDescription || "It is not known why.";
}
