// A stack of pictures: scrolled, windowed, magnified, moved, and played.
//
// The server renders (it decodes every transfer syntax that it can); this side asks for
// one picture at a time and keeps those that it has.

import { html, useEffect, useReducer, useRef, useState } from "./vendor/preact.js";
import { TAG, number, personName, text } from "./dicom.js";
import { Busy, Crumbs, Fault, Heading, useAnswer } from "./parts.js";
import { json, source, studyPath } from "./place.js";
import { Others, askStudy, base, crumbs, ofPatient } from "./study.js";

const PAGE = 500; // instances asked for at once
const MOST_FRAMES = 50_000; // of one instance
const KEPT = 120; // pictures
const STEPS = [512, 1024, 2048, 4096]; // pixels of the longer side

const PRESETS = {
  CT: { "Soft tissue": [40, 400], Lung: [-600, 1500], Bone: [400, 1800], Brain: [40, 80], Liver: [60, 160] },
};

// -- what there is to see ----------------------------------------------------------------------

// The frames of a series in order, as {uid, frame, dataset}.
async function stack(from, study, series, signal) {
  const found = [];
  for (let offset = 0; ; offset += PAGE) {
    const query = `limit=${PAGE}&offset=${offset}&includefield=NumberOfFrames,InstanceNumber,Rows,Columns`;
    const some = await json(`${from.base}${studyPath(study, series)}/instances?${query}`, { signal });
    found.push(...some);
    if (some.length < PAGE) break;
  }
  const order = (one) => number(one, TAG.instanceNumber) ?? 0;
  found.sort((a, b) => order(a) - order(b));
  return found.flatMap((dataset) => {
    const uid = text(dataset, TAG.instance);
    const frames = Math.min(number(dataset, TAG.frames) || 1, MOST_FRAMES);
    return Array.from({ length: frames }, (_, at) => ({ uid, frame: frames > 1 ? at + 1 : 0, dataset }));
  });
}

// The window that the file names, or one that shows all its values.
function usualWindow(dataset) {
  const center = number(dataset, TAG.center);
  const width = number(dataset, TAG.width);
  if (center !== undefined && width) return [center, width];
  const bits = number(dataset, TAG.bits) || 8;
  const slope = number(dataset, TAG.slope) ?? 1;
  const intercept = number(dataset, TAG.intercept) ?? 0;
  const middle = number(dataset, TAG.signed) ? 0 : 2 ** (bits - 1);
  return [middle * slope + intercept, 2 ** bits * Math.abs(slope)];
}

// -- pictures ----------------------------------------------------------------------------------

class Pictures {
  kept = new Map();

  get(address) {
    let picture = this.kept.get(address);
    if (picture) this.kept.delete(address);
    else {
      picture = new Image();
      picture.src = address;
      picture.ready = picture.decode().then(
        () => true,
        () => {
          this.kept.delete(address);
          return false;
        },
      );
    }
    this.kept.set(address, picture);
    for (const oldest of this.kept.keys()) {
      if (this.kept.size <= KEPT) break;
      this.kept.delete(oldest);
    }
    return picture;
  }
}

const START = { at: 0, zoom: 1, x: 0, y: 0, window: null, playing: false, tool: "window" };

function reduce(state, change) {
  return { ...state, ...(typeof change === "function" ? change(state) : change) };
}

export function Viewer({ server, study, series, query }) {
  const from = source(server);
  const frames = useAnswer((signal) => stack(from, study, series, signal), [from.base, study, series]);
  const patient = query.get("patient");
  const parent = useAnswer((signal) => askStudy(from, study, patient, signal), [from.base, study, patient]);
  const name = parent.value ? personName(parent.value) || "Study" : "Study";
  const label = "Pictures";
  const first = frames.value ? Math.max(0, frames.value.findIndex((one) => one.uid === query.get("instance"))) : 0;
  return html`
    <${Crumbs}
      steps=${[
        ...crumbs(server),
        [name, `${base(server)}/studies/${study}${ofPatient(patient)}`],
        ["Series", `${base(server)}/studies/${study}/series/${series}${ofPatient(patient)}`],
        [label],
      ]}
    />
    <${Heading}>${parent.value ? `${label} of ${name}` : label}<//>
    <${Fault} error=${frames.error} />
    <${Others} study=${parent.value} />
    ${frames.busy && html`<${Busy} />`}
    ${frames.value?.length === 0 && html`<p class="notice">There is no instance in this series.</p>`}
    ${frames.value?.length > 0 && html`<${Stack} frames=${frames.value} ...${{ from, study, series, first }} />`}
  `;
}

function Stack({ frames, from, study, series, first }) {
  const [state, set] = useReducer(reduce, { ...START, at: first });
  const canvas = useRef();
  const pictures = useRef(new Pictures());
  const [message, setMessage] = useState("");
  const now = frames[Math.min(state.at, frames.length - 1)];
  const facts = useFacts(from, study, series, now.uid);
  const grey = !facts || (text(facts, TAG.photometric) || "MONOCHROME2").startsWith("MONOCHROME");
  const go = (by) => set((before) => ({ at: Math.min(frames.length - 1, Math.max(0, before.at + by)) }));
  const window = state.window && state.window.map((value) => Number(value.toPrecision(6)));

  const plain = (one) => `${from.base}${studyPath(study, series, one.uid)}/rendered`;
  const address = (one) => {
    const path = `${studyPath(study, series, one.uid)}${one.frame ? `/frames/${one.frame}` : ""}/rendered`;
    const asked = new URLSearchParams();
    const longer = Math.max(number(one.dataset, TAG.rows) || 0, number(one.dataset, TAG.columns) || 0);
    const needed = 1024 * state.zoom;
    const step = STEPS.find((size) => size >= needed) || STEPS.at(-1);
    if (longer > step) asked.set("viewport", `${step},${step}`);
    if (window && grey) asked.set("window", `${window[0]},${Math.max(1, window[1])},linear`);
    const query = asked.toString();
    return `${from.base}${path}${query && `?${query}`}`;
  };

  useEffect(() => {
    let current = true;
    const picture = pictures.current.get(address(now));
    picture.ready.then((fine) => {
      if (!current) return;
      setMessage(fine ? "" : "There is no picture of this instance.");
      draw(canvas.current, fine ? picture : null, state);
      for (const ahead of [1, 2]) {
        if (fine && state.at + ahead < frames.length) pictures.current.get(address(frames[state.at + ahead]));
      }
    });
    return () => {
      current = false;
    };
  });

  useEffect(() => {
    const redraw = () => set({});
    const watcher = new ResizeObserver(redraw);
    watcher.observe(canvas.current);
    return () => watcher.disconnect();
  }, []);

  usePlaying(state, set, frames, facts, pictures, address);
  useWheel(canvas, go);
  const drag = useDrag(canvas, state, set, facts, grey, go);
  const keys = {
    ArrowUp: () => go(-1),
    ArrowLeft: () => go(-1),
    ArrowDown: () => go(1),
    ArrowRight: () => go(1),
    PageUp: () => go(-10),
    PageDown: () => go(10),
    Home: () => set({ at: 0 }),
    End: () => set({ at: frames.length - 1 }),
    "+": () => set((before) => ({ zoom: Math.min(16, before.zoom * 1.25) })),
    "-": () => set((before) => ({ zoom: Math.max(0.25, before.zoom / 1.25) })),
    0: () => set({ zoom: 1, x: 0, y: 0, window: null }),
    " ": () => set((before) => ({ playing: !before.playing })),
  };
  const pressed = (event) => {
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  };
  const place = `${state.at + 1} of ${frames.length}`;
  const shown = window || (facts && grey && usualWindow(facts));
  return html`<div class="viewer">
    <${Tools} ...${{ state, set, grey, keys, many: frames.length > 1, facts }} />
    <div class="stage">
      <canvas ref=${canvas} tabindex="0" role="img" aria-label="Picture ${place}. Arrow keys move through the stack." onKeyDown=${pressed} ...${drag}></canvas>
      <div class="corner">
        ${place}${now.frame ? ` (frame ${now.frame})` : ""}${shown ? ` · window ${Math.round(shown[0])} / ${Math.round(shown[1])}` : ""}${" · "}${Math.round(state.zoom * 100)} %
      </div>
      ${message &&
      html`<div class="message" role="status">
        <span>${message} <a href=${plain(now)} target="_blank" rel="noopener">Show what there is</a></span>
      </div>`}
    </div>
    ${frames.length > 1 &&
    html`<div class="slices">
      <input
        type="range"
        aria-label="Picture"
        aria-valuetext=${place}
        min="0"
        max=${frames.length - 1}
        value=${state.at}
        onInput=${(event) => set({ at: Number(event.target.value) })}
      />
      <span class="small quiet nowrap">${place}</span>
    </div>`}
  </div>`;
}

function Tools({ state, set, grey, keys, many, facts }) {
  const tool = (name, label) =>
    html`<button aria-pressed=${state.tool === name ? "true" : "false"} onClick=${() => set({ tool: name })}>${label}</button>`;
  const presets = facts && grey && PRESETS[text(facts, TAG.modality)];
  const choose = (event) => set({ window: presets[event.target.value] || null });
  return html`<div class="row" role="toolbar" aria-label="Tools">
    ${grey && tool("window", "Window")} ${many && tool("scroll", "Scroll")} ${tool("move", "Move")} ${tool("zoom", "Zoom")}
    <button onClick=${keys["+"]}>Larger</button>
    <button onClick=${keys["-"]}>Smaller</button>
    <button onClick=${keys[0]}>Reset</button>
    ${many && html`<button aria-pressed=${state.playing ? "true" : "false"} onClick=${keys[" "]}>${state.playing ? "Stop" : "Play"}</button>`}
    ${presets &&
    html`<label class="beside"
      >Preset
      <select onChange=${choose}>
        <option value="">as in the file</option>
        ${Object.keys(presets).map((name) => html`<option value=${name}>${name}</option>`)}
      </select></label
    >`}
  </div>`;
}

// The attributes of the instance that is looked at.
function useFacts(from, study, series, uid) {
  const kept = useRef(new Map());
  const [facts, setFacts] = useState();
  useEffect(() => {
    if (kept.current.has(uid)) {
      setFacts(kept.current.get(uid));
      return undefined;
    }
    const stop = new AbortController();
    const wait = setTimeout(() => {
      json(`${from.base}${studyPath(study, series, uid)}/metadata`, { signal: stop.signal }).then(
        ([found]) => {
          kept.current.set(uid, found);
          setFacts(found);
        },
        () => undefined, // pictures are shown all the same
      );
    }, kept.current.size ? 150 : 0);
    return () => {
      clearTimeout(wait);
      stop.abort();
    };
  }, [uid]);
  return facts;
}

function usePlaying(state, set, frames, facts, pictures, address) {
  useEffect(() => {
    if (!state.playing) return undefined;
    const rate = facts && (number(facts, TAG.rate) || 1000 / (number(facts, TAG.frameTime) || 0));
    const pause = 1000 / (Number.isFinite(rate) && rate > 0 ? Math.min(rate, 60) : 15);
    let current = true;
    const timer = setTimeout(async () => {
      const at = (state.at + 1) % frames.length;
      await pictures.current.get(address(frames[at])).ready; // never faster than the server
      if (current) set({ at });
    }, pause);
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [state.playing, state.at, facts]);
}

function useWheel(canvas, go) {
  const latest = useRef(go);
  latest.current = go;
  useEffect(() => {
    const turned = (event) => {
      event.preventDefault();
      latest.current(Math.sign(event.deltaY));
    };
    const here = canvas.current;
    here.addEventListener("wheel", turned, { passive: false });
    return () => here.removeEventListener("wheel", turned);
  }, []);
}

function useDrag(canvas, state, set, facts, grey, go) {
  const from = useRef(null);
  const begin = (event) => {
    canvas.current.setPointerCapture(event.pointerId);
    from.current = { x: event.clientX, y: event.clientY, state, window: state.window || (facts ? usualWindow(facts) : [128, 256]), gone: 0 };
  };
  const move = (event) => {
    const start = from.current;
    if (!start) return;
    const x = event.clientX - start.x;
    const y = event.clientY - start.y;
    const tool = state.tool === "window" && !grey ? "move" : state.tool;
    if (tool === "window") {
      const step = Math.max(start.window[1], 1) / 300;
      set({ window: [start.window[0] + y * step, Math.max(1, start.window[1] + x * step)] });
    } else if (tool === "move") {
      set({ x: start.state.x + x, y: start.state.y + y });
    } else if (tool === "zoom") {
      set({ zoom: Math.min(16, Math.max(0.25, start.state.zoom * 1.01 ** -y)) });
    } else {
      const wanted = Math.round(y / 8);
      go(wanted - start.gone);
      start.gone = wanted;
    }
  };
  const end = () => {
    from.current = null;
  };
  return { onPointerDown: begin, onPointerMove: move, onPointerUp: end, onPointerCancel: end };
}

function draw(canvas, picture, state) {
  if (!canvas) return;
  const scale = globalThis.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * scale);
  const height = Math.round(canvas.clientHeight * scale);
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const pen = canvas.getContext("2d");
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, width, height);
  if (!picture) return;
  const fit = Math.min(width / picture.naturalWidth, height / picture.naturalHeight) * state.zoom;
  pen.imageSmoothingEnabled = fit < 3 * scale;
  pen.translate(width / 2 + state.x * scale, height / 2 + state.y * scale);
  pen.scale(fit, fit);
  pen.drawImage(picture, -picture.naturalWidth / 2, -picture.naturalHeight / 2);
}

