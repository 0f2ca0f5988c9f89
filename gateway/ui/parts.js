// What every screen is made of.

import { html, useEffect, useRef, useState } from "./vendor/preact.js";

// What a promise gives, as state: {value, error, busy}. A newer one makes an older one stop.
export function useAnswer(ask, needs) {
  const [state, setState] = useState({ busy: true });
  const [turn, setTurn] = useState(0);
  const answered = useRef();
  const asked = JSON.stringify(needs);
  useEffect(() => {
    const stop = new AbortController();
    setState((before) => ({ ...before, busy: true }));
    // What was told before stays if it cannot be told again.
    const failed = (error) => setState((before) => ({ value: answered.current === asked ? before.value : undefined, error, busy: false }));
    const told = (value) => {
      answered.current = asked;
      setState({ value, busy: false });
    };
    ask(stop.signal).then(
      (value) => stop.signal.aborted || told(value),
      (error) => stop.signal.aborted || failed(error),
    );
    return () => stop.abort();
  }, [asked, turn]);
  return { ...state, again: () => setTurn((before) => before + 1) };
}

export function useLater(value, milliseconds) {
  const [later, setLater] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setLater(value), milliseconds);
    return () => clearTimeout(timer);
  }, [value, milliseconds]);
  return later;
}

// Ask again every so many milliseconds while the page is looked at, but not over a
// question that is still open.
export function useEvery(milliseconds, found) {
  const latest = useRef(found);
  latest.current = found;
  useEffect(() => {
    const timer = setInterval(() => document.hidden || latest.current.busy || latest.current.again(), milliseconds);
    return () => clearInterval(timer);
  }, [milliseconds]);
}

export function Fault({ error }) {
  return error ? html`<p class="notice error" role="alert">${error.message}</p>` : null;
}

export function Busy({ what }) {
  return html`<p class="quiet working" role="status">${what || "Loading"}</p>`;
}

// A heading that takes the focus, so that readers hear where they are.
export function Heading({ children }) {
  const here = useRef();
  useEffect(() => {
    here.current.focus({ preventScroll: true });
    document.title = `${here.current.textContent} – dicomweb-gateway`;
  }, []);
  useEffect(() => {
    document.title = `${here.current.textContent} – dicomweb-gateway`;
  });
  return html`<h1 tabindex="-1" ref=${here}>${children}</h1>`;
}

export function Crumbs({ steps }) {
  return html`<nav class="crumbs" aria-label="Where you are">
    <ol>
      ${steps.map(([label, address]) => html`<li>${address ? html`<a href=${address}>${label}</a>` : label}</li>`)}
    </ol>
  </nav>`;
}

export function Field({ label, children }) {
  return html`<label class="field"><span>${label}</span>${children}</label>`;
}

export function Dialog({ title, wide, close, children }) {
  const here = useRef();
  useEffect(() => {
    const dialog = here.current;
    const before = document.activeElement;
    dialog.showModal();
    return () => {
      dialog.close();
      if (before && before.isConnected) before.focus();
    };
  }, []);
  const cancel = (event) => {
    event.preventDefault();
    close();
  };
  return html`<dialog ref=${here} class=${wide ? "wide" : ""} aria-labelledby="dialog-title" onCancel=${cancel}>
    <h2 id="dialog-title">${title}</h2>
    ${children}
  </dialog>`;
}

// Ask before something that cannot be undone; `act` is a promise, its failure is shown.
export function Confirm({ title, button, danger, close, act, children }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState();
  const go = async () => {
    setBusy(true);
    setError(undefined);
    try {
      await act();
    } catch (failure) {
      setError(failure);
      setBusy(false);
    }
  };
  return html`<${Dialog} title=${title} close=${close}>
    ${children}
    <${Fault} error=${error} />
    <div class="foot">
      <button onClick=${close}>Cancel</button>
      <button class=${danger ? "main danger" : "main"} disabled=${busy} onClick=${go}>${button}</button>
    </div>
  <//>`;
}

export function Pages({ offset, size, more, go }) {
  if (!offset && !more) return null;
  return html`<nav class="row" aria-label="Pages">
    <button disabled=${!offset} onClick=${() => go(Math.max(0, offset - size))}>Previous</button>
    <span class="quiet small">from ${(offset + 1).toLocaleString("en")}</span>
    <button disabled=${!more} onClick=${() => go(offset + size)}>Next</button>
  </nav>`;
}

// Keep what is looked at in the address, so that going back comes back to it.
export function useRemembered(state) {
  const query = new URLSearchParams(Object.entries(state).filter(([, value]) => value)).toString();
  const first = useRef(true);
  useEffect(() => {
    if (first.current) {
      first.current = false;
      return;
    }
    const [path] = location.hash.split("?");
    history.replaceState(null, "", `${path || "#/"}${query && `?${query}`}`);
  }, [query]);
}

// A picture that may not exist.
export function Picture({ address, label }) {
  const [missing, setMissing] = useState(false);
  useEffect(() => setMissing(false), [address]);
  return html`<div class="picture">
    ${missing
      ? html`<span class="small">no picture</span>`
      : html`<img src=${address} alt=${label} loading="lazy" onError=${() => setMissing(true)} />`}
  </div>`;
}
