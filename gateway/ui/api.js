// What may be asked of the gateway, as it describes itself: OpenAPI, made readable.

import { html, useState } from "./vendor/preact.js";
import { Busy, Fault, Field, Heading, useAnswer } from "./parts.js";
import { json, rest } from "./place.js";

// A HEAD is its GET without the body; one line says that of all.
const LEFT_OUT = ["parameters", "head"];

function operations(told) {
  return Object.entries(told.paths).map(([path, item]) => ({
    path,
    places: item.parameters || [],
    methods: Object.entries(item)
      .filter(([name]) => !LEFT_OUT.includes(name))
      .map(([name, operation]) => ({ name: name.toUpperCase(), ...operation })),
  }));
}

function matching(paths, words) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (path, method) => {
    const kinds = [...Object.keys(method.requestBody?.content || {}), ...answers(method)];
    const names = (method.parameters || []).map((one) => one.name);
    const text = [path, method.name, method.summary, ...names, ...kinds].join(" ").toLowerCase();
    return wanted.every((word) => text.includes(word));
  };
  return paths
    .map((one) => ({ ...one, methods: one.methods.filter((method) => fits(one.path, method)) }))
    .filter((one) => one.methods.length);
}

function answers(method) {
  return [...new Set(Object.values(method.responses).flatMap((one) => Object.keys(one.content || {})))];
}

export function Api() {
  const found = useAnswer((signal) => json(`${rest}openapi.json`, { signal, headers: { Accept: "application/json" } }), []);
  const [words, setWords] = useState("");
  const paths = found.value ? matching(operations(found.value), words) : [];
  const count = paths.reduce((sum, one) => sum + one.methods.length, 0);
  return html`
    <${Heading}>What may be asked<//>
    <p>
      Every address of this gateway, with what it takes and answers. Programs read the same in
      ${" "}<a href="${rest}openapi.json">openapi.json</a>; the <a href="${rest}docs/">manual</a> tells what it is for.
      Where there is GET, there is HEAD.
    </p>
    <${Field} label="Filter by path, method, parameter or media type">
      <input type="search" value=${words} onInput=${(event) => setWords(event.target.value)} />
    <//>
    ${!found.value && found.busy && html`<${Busy} />`}
    <${Fault} error=${found.error} />
    ${found.value && html`<p class="quiet small" role="status">${count === 1 ? "1 operation" : `${count} operations`}</p>`}
    ${paths.map((one) => html`<${Path} key=${one.path} ...${one} />`)}
  `;
}

function Path({ path, places, methods }) {
  return html`<section class="sheet api">
    <h2 class="break"><code>${path}</code></h2>
    ${methods.map((method) => html`<${Method} key=${method.name} ...${{ path, method, places }} />`)}
  </section>`;
}

function Method({ path, method, places }) {
  const taken = Object.keys(method.requestBody?.content || {});
  const given = answers(method);
  const parameters = [...places, ...(method.parameters || [])];
  return html`<details>
    <summary>
      <span class="method">${method.name}</span> ${method.summary}
      <span class="hidden-label"> ${path}</span>
    </summary>
    ${method.security && !method.security.length && html`<p>It needs no password.</p>`}
    ${parameters.length > 0 &&
    html`<div class="scroll" role="region" aria-label="Parameters of ${method.name} ${path}" tabindex="0">
      <table>
        <caption>Parameters</caption>
        <thead><tr><th scope="col">Name</th><th scope="col">In</th><th scope="col">Needed</th><th scope="col">Value</th></tr></thead>
        <tbody>
          ${parameters.map(
            (one) => html`<tr><td><code>${one.name}</code></td><td>${one.in}</td><td>${one.required ? "yes" : "no"}</td><td>${value(one.schema || {})}</td></tr>`,
          )}
        </tbody>
      </table>
    </div>`}
    <dl class="facts">
      ${taken.length > 0 && html`<dt>Takes</dt><dd>${taken.join(", ")}</dd>`}
      ${given.length > 0 && html`<dt>Answers in</dt><dd>${given.join(", ")}</dd>`}
      ${Object.entries(method.responses).map(([status, told]) => html`<dt>${status}</dt><dd>${told.description}</dd>`)}
    </dl>
  </details>`;
}

function value(schema) {
  if (schema.enum) return schema.enum.join(" or ");
  if (schema.const) return schema.const;
  const { type = "string", pattern, minimum } = schema;
  if (pattern) return html`${type} as <code>${pattern}</code>`;
  return minimum === undefined ? type : `${type} from ${minimum}`;
}
