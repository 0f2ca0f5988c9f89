// DICOM JSON as a person reads it.

export const TAG = {
  accession: "00080050",
  bits: "00280101",
  birth: "00100030",
  bodyPart: "00180015",
  columns: "00280011",
  frames: "00280008",
  frameTime: "00181063",
  instance: "00080018",
  instanceNumber: "00200013",
  instances: "00201208",
  instancesOfSeries: "00201209",
  modalities: "00080061",
  modality: "00080060",
  name: "00100010",
  patient: "00100020",
  photometric: "00280004",
  rate: "00180040",
  rows: "00280010",
  sex: "00100040",
  series: "0020000E",
  seriesDescription: "0008103E",
  seriesNumber: "00200011",
  seriesOfStudy: "00201206",
  signed: "00280103",
  sopClass: "00080016",
  study: "0020000D",
  studyDate: "00080020",
  studyDescription: "00081030",
  studyId: "00200010",
  studyTime: "00080030",
  intercept: "00281052",
  slope: "00281053",
  center: "00281050",
  width: "00281051",
};

export function values(dataset, tag) {
  const element = dataset[tag] || dataset[tag.toLowerCase()];
  return (element && element.Value) || [];
}

export function text(dataset, tag) {
  return values(dataset, tag)
    .filter((value) => value !== null)
    .map((value) => (typeof value === "object" ? value.Alphabetic || value.Ideographic || "" : value))
    .join(", ");
}

export function number(dataset, tag) {
  const [value] = values(dataset, tag);
  const found = Number.parseFloat(value);
  return Number.isFinite(found) ? found : undefined;
}

export function personName(dataset) {
  const name = text(dataset, TAG.name).replace(/\^+$/, "");
  const [family, ...others] = name.split("^");
  const rest = others.filter(Boolean).join(" ");
  return rest ? `${family}, ${rest}` : family;
}

export function date(dataset, tag) {
  const found = text(dataset, tag);
  return /^\d{8}$/.test(found) ? `${found.slice(0, 4)}-${found.slice(4, 6)}-${found.slice(6)}` : found;
}

export function time(dataset, tag) {
  const found = text(dataset, tag);
  return /^\d{4}/.test(found) ? `${found.slice(0, 2)}:${found.slice(2, 4)}` : found;
}

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let size = Number(count) || 0;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${size >= 100 || !unit ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

export function seconds(count) {
  const whole = Math.max(0, Math.round(count));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes} min ${whole % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function count(amount, one, many) {
  return `${Number(amount).toLocaleString("en")} ${Number(amount) === 1 ? one : many}`;
}

// -- all attributes of an instance, with the names that the server has for them ----------

function* rows(model, depth) {
  for (const attribute of model.children) {
    if (attribute.localName !== "DicomAttribute") continue;
    const items = [...attribute.children];
    const sequence = items.filter((one) => one.localName === "Item");
    yield {
      depth,
      tag: attribute.getAttribute("tag"),
      vr: attribute.getAttribute("vr"),
      name: attribute.getAttribute("keyword") || attribute.getAttribute("privateCreator") || "",
      value: sequence.length ? count(sequence.length, "item", "items") : shown(items),
    };
    for (const [position, item] of sequence.entries()) {
      yield { depth: depth + 1, tag: "", vr: "", name: `Item ${position + 1}`, value: "" };
      yield* rows(item, depth + 2);
    }
  }
}

function shown(children) {
  return children
    .map((one) => {
      if (one.localName === "BulkData") return "(binary)";
      if (one.localName === "InlineBinary") return `(binary, ${Math.floor((one.textContent.length * 3) / 4)} bytes)`;
      if (one.localName === "PersonName") return person(one);
      return one.textContent;
    })
    .join("\\");
}

function person(element) {
  const groups = [...element.children].map((group) => {
    const part = (name) => group.querySelector(name)?.textContent || "";
    const names = ["FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix"].map(part);
    return names.join("^").replace(/\^+$/, "");
  });
  return groups.join("=");
}

// The rows of the first instance of a multipart answer in native DICOM XML.
export function attributes(body) {
  const start = body.indexOf("<NativeDicomModel");
  const end = body.indexOf("</NativeDicomModel>", start);
  if (start < 0 || end < 0) throw new Error("The answer is not understood.");
  const parsed = new DOMParser().parseFromString(`${body.slice(start, end)}</NativeDicomModel>`, "text/xml");
  return [...rows(parsed.documentElement, 0)];
}
