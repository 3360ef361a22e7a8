"use strict";
// Sends an image to /predict, draws the answer's segments over it, and names what is pointed at.

const byId = (id) => document.getElementById(id);
const canvas = byId("canvas");
const context = canvas.getContext("2d");
let shown = null; // {picture, answer, ids: Int32Array of indices + 1 by pixel, layer}
let chosen = null; // category id whose segments alone are drawn, or null
let named = -1; // the index of the segment that is named, or -1
let requests = 0;

// COCO's compressed run-length code (rleFromString in maskApi.c) to run lengths.
function decodeCounts(text) {
  const counts = [];
  let position = 0;
  while (position < text.length) {
    let value = 0, shift = 0, more = true, bits = 0;
    while (more) {
      bits = text.charCodeAt(position++) - 48;
      value += (bits & 31) * 2 ** shift;
      shift += 5;
      more = (bits & 32) !== 0;
    }
    if (bits & 16) value -= 2 ** shift;
    if (counts.length > 2) value += counts[counts.length - 2];
    counts.push(value);
  }
  return counts;
}

function segmentIds(answer) {
  const ids = new Int32Array(answer.width * answer.height);
  answer.segments.forEach((segment, index) => {
    let position = 0; // down the columns
    decodeCounts(segment.segmentation.counts).forEach((count, run) => {
      if (run % 2 === 1) {
        for (let pixel = position; pixel < position + count; pixel++) {
          const column = Math.floor(pixel / answer.height);
          ids[(pixel - column * answer.height) * answer.width + column] = index + 1;
        }
      }
      position += count;
    });
  });
  return ids;
}

function colorsOf(answer) {
  const colors = new Map();
  for (const category of answer.categories) colors.set(category.id, category.color);
  return colors;
}

// The colours of all segments, with an outline where two segments meet.
function drawLayer(answer, ids) {
  const { width, height } = answer;
  const layer = new OffscreenCanvas(width, height);
  const pixels = new ImageData(width, height);
  const colors = colorsOf(answer);
  for (let pixel = 0; pixel < ids.length; pixel++) {
    const id = ids[pixel];
    if (id === 0) continue;
    const category = answer.segments[id - 1].category_id;
    if (chosen !== null && category !== chosen) continue;
    const isEdge = (pixel + 1 < ids.length && ids[pixel + 1] !== id) ||
      (pixel + width < ids.length && ids[pixel + width] !== id);
    const color = isEdge ? [255, 255, 255] : colors.get(category);
    pixels.data.set(color, 4 * pixel);
    pixels.data[4 * pixel + 3] = 255;
  }
  layer.getContext("2d").putImageData(pixels, 0, 0);
  return layer;
}

function draw() {
  const { picture, answer, layer } = shown;
  context.globalAlpha = 1;
  context.fillStyle = "#888";
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (picture !== null) context.drawImage(picture, 0, 0, answer.width, answer.height);
  context.globalAlpha = byId("opacity").value / 100;
  context.drawImage(layer, 0, 0);
}

function describe(segment) {
  const score = segment.score === null ? "" : ` ${(100 * segment.score).toFixed(0)} %`;
  return `${segment.name}${score}, ${segment.area.toLocaleString("en")} px`;
}

function fillLegend(answer) {
  const legend = byId("legend");
  legend.replaceChildren();
  const counts = new Map();
  for (const { category_id: id } of answer.segments) counts.set(id, (counts.get(id) || 0) + 1);
  const isAbsent = (category) => (counts.has(category.id) ? 0 : 1);
  for (const category of [...answer.categories].sort((a, b) => isAbsent(a) - isAbsent(b))) {
    const count = counts.get(category.id) || 0;
    const item = document.createElement("li");
    const button = document.createElement("button");
    const swatch = document.createElement("span");
    const name = document.createElement("span");
    const number = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = `rgb(${category.color.join(",")})`;
    name.className = "name";
    name.textContent = category.name;
    number.className = "count";
    number.textContent = count === 0 ? "" : count;
    button.append(swatch, name, number);
    button.classList.toggle("absent", count === 0);
    button.title = "show this class alone";
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => choose(category.id, button));
    item.append(button);
    legend.append(item);
  }
}

function choose(id, button) {
  chosen = chosen === id ? null : id;
  for (const other of byId("legend").querySelectorAll("button")) {
    other.setAttribute("aria-pressed", other === button && chosen !== null);
  }
  shown.layer = drawLayer(shown.answer, shown.ids);
  draw();
}

function say(text, isError) {
  const message = byId("message");
  message.textContent = text;
  message.hidden = text === "";
  message.classList.toggle("error", isError);
}

async function explain(response) {
  const refusal = await response.json().catch(() => null);
  if (refusal === null || refusal.error === undefined) return `The server answered ${response.status}.`;
  return `Expected ${refusal.expected}, but got ${refusal.error} - ${refusal.do}.`;
}

async function show(file) {
  const request = ++requests;
  say(`Predicting ${file.name} ...`, false);
  const headers = { Accept: "application/json", "Content-Type": "application/octet-stream" };
  if (byId("key").value) headers["X-API-Key"] = byId("key").value;
  const started = performance.now();
  let response;
  try {
    response = await fetch("/predict", { method: "POST", body: file, headers });
  } catch {
    return say("The server does not answer - check that it still runs.", true);
  }
  if (request !== requests) return; // another image was chosen meanwhile
  if (response.status === 401) byId("key-row").hidden = false;
  if (!response.ok) return say(await explain(response), true);
  const answer = await response.json();
  const seconds = (performance.now() - started) / 1000;
  const picture = await createImageBitmap(file).catch(() => null); // no browser decodes TIFF
  chosen = null;
  named = -1;
  const ids = segmentIds(answer);
  shown = { picture, answer, ids, layer: drawLayer(answer, ids) };
  canvas.width = answer.width;
  canvas.height = answer.height;
  canvas.style.setProperty("--aspect", answer.width / answer.height); // tall images fit the window
  byId("tip").hidden = true;
  byId("result").hidden = false;
  byId("model").textContent = `${answer.model.name} (${answer.model.fingerprint.slice(0, 12)})`;
  byId("caption").textContent = `${file.name}: ${answer.width} x ${answer.height} px, ` +
    `${answer.segments.length} segments, ${seconds.toFixed(2)} s. Point at one, tap it, or use arrow keys.`;
  fillLegend(answer);
  draw();
  say("", false);
}

function pointAt(event) {
  if (shown === null) return;
  const box = canvas.getBoundingClientRect();
  const x = Math.floor((event.clientX - box.left) / box.width * shown.answer.width);
  const y = Math.floor((event.clientY - box.top) / box.height * shown.answer.height);
  named = (shown.ids[y * shown.answer.width + x] || 0) - 1;
  const below = event.pointerType === "touch" ? -48 : 16; // a finger hides what is below it
  showName(event.clientX - box.left + 12, event.clientY - box.top + below);
}

// The name of the segment `named` at a position on the canvas in CSS px.
function showName(x, y) {
  const tip = byId("tip");
  tip.hidden = false;
  tip.textContent = named < 0 ? "no class" : describe(shown.answer.segments[named]);
  tip.style.left = `${Math.max(0, Math.min(x, canvas.clientWidth - tip.offsetWidth))}px`;
  tip.style.top = `${Math.max(0, Math.min(y, canvas.clientHeight - tip.offsetHeight))}px`;
}

// Arrow keys go through the segments, for those who do not point.
function step(event) {
  const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const segments = shown === null ? [] : shown.answer.segments;
  if (by === undefined || segments.length === 0) return;
  event.preventDefault(); // the page would scroll
  named = named < 0 && by < 0 ? segments.length - 1 : (named + by + segments.length) % segments.length;
  const [left, top, width, height] = segments[named].bbox;
  const scale = canvas.clientWidth / shown.answer.width;
  showName((left + width / 2) * scale, (top + height / 2) * scale);
}

byId("file").addEventListener("change", (event) => {
  if (event.target.files.length) show(event.target.files[0]);
  event.target.value = ""; // the same file may be chosen again
});
for (const type of ["dragover", "drop", "dragleave"]) {
  document.addEventListener(type, (event) => {
    event.preventDefault();
    byId("drop").classList.toggle("over", type === "dragover");
    if (type === "drop" && event.dataTransfer.files.length) show(event.dataTransfer.files[0]);
  });
}
canvas.addEventListener("pointermove", pointAt);
canvas.addEventListener("pointerdown", pointAt);
canvas.addEventListener("pointerleave", (event) => {
  if (event.pointerType === "mouse") byId("tip").hidden = true;
});
canvas.addEventListener("keydown", step);
byId("opacity").addEventListener("input", () => shown !== null && draw());
