// The frame around the screens: where the address leads, and what is always there.

import { html, render, useEffect, useState } from "./vendor/preact.js";
import { Api } from "./api.js";
import { Archive } from "./archive.js";
import { Fault } from "./parts.js";
import { Jobs } from "./jobs.js";
import { Remote, Servers } from "./servers.js";
import { Series } from "./series.js";
import { settings } from "./place.js";
import { Status } from "./status.js";
import { Study } from "./study.js";
import { Upload } from "./upload.js";
import { Viewer } from "./viewer.js";

const SCREENS = [
  [/^\/?$/, Archive, []],
  [/^\/studies\/([^/]+)$/, Study, ["study"]],
  [/^\/studies\/([^/]+)\/series\/([^/]+)$/, Series, ["study", "series"]],
  [/^\/view\/([^/]+)\/([^/]+)$/, Viewer, ["study", "series"]],
  [/^\/upload$/, Upload, []],
  [/^\/remote$/, Remote, []],
  [/^\/remote\/([^/]+)$/, Archive, ["server"]],
  [/^\/remote\/([^/]+)\/studies\/([^/]+)$/, Study, ["server", "study"]],
  [/^\/remote\/([^/]+)\/studies\/([^/]+)\/series\/([^/]+)$/, Series, ["server", "study", "series"]],
  [/^\/remote\/([^/]+)\/view\/([^/]+)\/([^/]+)$/, Viewer, ["server", "study", "series"]],
  [/^\/servers$/, Servers, []],
  [/^\/jobs$/, Jobs, []],
  [/^\/status$/, Status, []],
  [/^\/api$/, Api, []],
];

const PLACES = [
  ["Archive", "#/", /^\/?$|^\/(studies|view)\//],
  ["Upload", "#/upload", /^\/upload/],
  ["Remote servers", "#/remote", /^\/(remote|servers)/],
  ["Jobs", "#/jobs", /^\/jobs/],
  ["Status", "#/status", /^\/(status|api)/],
];

function whereTo() {
  const [path, query] = location.hash.replace(/^#/, "").split("?");
  // Every turn is a screen of its own: what was typed on the last one is gone.
  return { path: path || "/", query: new URLSearchParams(query), turn: performance.now() };
}

function Page() {
  const [place, setPlace] = useState(whereTo);
  const [known, setKnown] = useState({ viewers: [] });
  const [error, setError] = useState();
  useEffect(() => {
    const moved = () => setPlace(whereTo());
    addEventListener("hashchange", moved);
    settings().then(setKnown, setError);
    return () => removeEventListener("hashchange", moved);
  }, []);
  const upload = !known.readOnly;
  return html`
    <a class="skip" href="#content" onClick=${skip}>Skip to the content</a>
    <header class="head">
      <a class="brand" href="#/"><img src=${new URL("icon.svg", import.meta.url).href} alt="" />${known.name || "dicomweb-gateway"}</a>
      <nav aria-label="Screens">
        ${PLACES.filter(([, address]) => upload || address !== "#/upload").map(
          ([label, address, ours]) =>
            html`<a href=${address} aria-current=${ours.test(place.path) ? "page" : undefined}>${label}</a>`,
        )}
      </nav>
    </header>
    <main id="content" tabindex="-1">
      <${Fault} error=${error} />
      <${Screen} place=${place} known=${known} />
    </main>
  `;
}

function skip(event) {
  event.preventDefault(); // the hash is ours
  document.getElementById("content").focus();
}

function decoded(texts) {
  try {
    return texts.map(decodeURIComponent);
  } catch {
    return undefined; // no address of ours
  }
}

function Screen({ place, known }) {
  for (const [pattern, screen, names] of SCREENS) {
    const found = pattern.exec(place.path);
    if (!found) continue;
    const texts = decoded(found.slice(1));
    if (!texts) break;
    const given = Object.fromEntries(names.map((name, at) => [name, texts[at]]));
    return html`<${screen} key=${place.turn} ...${given} query=${place.query} known=${known} />`;
  }
  return html`<h1>There is nothing here</h1>
    <p><a href="#/">To the archive</a></p>`;
}

render(html`<${Page} />`, document.getElementById("page"));
