// What the pages draw with. Text goes into the document as text, never as markup: names come from the network.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children; a string among them becomes text. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function svg(tag, attributes = {}, text = "") {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  return made;
}

export const find = (id) => document.getElementById(id);

/** Only what is new is written, so that a selection or a screen reader is not disturbed. */
export function say(id, text) {
  const place = find(id);
  if (place.textContent !== text) place.textContent = text;
}

export function pill(text, tone = "") {
  return el("span", { class: "pill", "data-tone": tone }, text);
}

const TONES = {
  running: "busy", training: "busy", exchanging: "busy", evaluating: "busy", starting: "busy", listening: "busy",
  finished: "good", done: "good", alive: "good", paused: "warn", stopped: "warn", failed: "bad", dead: "bad",
};

export const toneOf = (state) => TONES[state] ?? "";

// -- numbers for people --------------------------------------------------------

export const none = "–";
const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

export function count(value) {
  return known(value) ? Math.round(value).toLocaleString("en-US") : none;
}

export function share(value, digits = 1) {
  return known(value) ? `${(100 * value).toFixed(digits)} %` : none;
}

export function bits(value) {
  return known(value) ? `${value.toFixed(2)} bits` : none;
}

export function bytes(value) {
  if (!known(value)) return none;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (value < 1024 || unit === "GiB") return `${value.toFixed(unit === "B" || value >= 100 ? 0 : 1)} ${unit}`;
    value /= 1024;
  }
  return none;
}

export function rate(value) {
  return known(value) ? `${bytes(value)}/s` : none;
}

export function seconds(value) {
  if (!known(value)) return none;
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 60) return `${value.toFixed(value < 10 ? 2 : 1)} s`;
  const [days, hours] = [Math.floor(value / 86400), Math.floor((value % 86400) / 3600)];
  const minutes = Math.floor((value % 3600) / 60);
  if (days) return `${days} d ${hours} h`;
  return hours ? `${hours} h ${minutes} min` : `${minutes} min ${Math.floor(value % 60)} s`;
}

// -- line charts ----------------------------------------------------------------

const EDGE = { top: 8, right: 14, bottom: 24, left: 74 };

/** Round steps, about `wanted` of them; bytes have round steps of their own. */
function ticks(low, high, wanted, { whole = false, binary = false } = {}) {
  let raw = (high - low) / Math.max(wanted, 1);
  const unit = binary ? 1024 ** Math.max(Math.floor(Math.log(raw || 1) / Math.log(1024)), 0) : 1;
  raw /= unit;
  const power = 10 ** Math.floor(Math.log10(raw || 1));
  const steps = [1, 2, 2.5, 5, 10].map((factor) => factor * power);
  const nearest = (best, one) => (Math.abs(Math.log(one / raw)) < Math.abs(Math.log(best / raw)) ? one : best);
  let step = steps.reduce(nearest) * unit;
  if (whole) step = Math.max(1, Math.round(step));
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-6; at += step) found.push(at);
  return found;
}

function extent(series, fixed) {
  const values = series.flatMap((one) => [
    ...one.points.map((point) => point[1]),
    ...(one.band ?? []).flatMap((point) => [point[1], point[2]]),
  ]).filter(known);
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (fixed?.low !== undefined) low = fixed.low;
  if (high - low < 1e-9) high = low + (Math.abs(low) || 1) * 0.5;
  const room = (high - low) * 0.08;
  low = fixed?.low ?? low - room;
  high += room;
  return [fixed?.floor !== undefined ? Math.max(low, fixed.floor) : low,
    fixed?.ceiling !== undefined ? Math.min(high, fixed.ceiling) : high];
}

/** The pieces of a line between gaps (null). */
function pieces(points) {
  const found = [[]];
  for (const point of points) known(point[1]) ? found.at(-1).push(point) : found.push([]);
  return found.filter((piece) => piece.length);
}

/**
 * A chart that redraws itself when it is given new series or another size, and shows what is under the pointer
 * or, by the arrow keys, at a place.
 * spec: { title, x: text of a value, y: the same, head: of x in full, whole: x counts, binary: y is bytes,
 *   limits: {low, floor, ceiling}, empty: what to say without data }
 */
export class Chart {
  constructor(host, spec) {
    this.spec = spec;
    this.series = [];
    this.at = null;
    this.legend = el("ul", { class: "legend" });
    this.plot = el("div", { class: "plot", tabindex: "0", role: "img" });
    host.append(el("figcaption", {}, el("h2", {}, spec.title), this.legend), this.plot);
    new ResizeObserver(() => this.draw()).observe(this.plot);
    this.plot.addEventListener("pointermove", (event) => this.point(event.clientX));
    this.plot.addEventListener("pointerleave", () => this.place(null));
    this.plot.addEventListener("blur", () => this.place(null));
    this.plot.addEventListener("keydown", (event) => this.step(event));
  }

  /** series: [{ name, tone: "" | "second", points: [[x, y]], band: [[x, low, high]] }] */
  show(series) {
    const text = JSON.stringify(series);
    if (text === this.text) return;
    this.text = text;
    this.series = series;
    this.draw();
  }

  get xs() {
    const all = this.series.flatMap((one) => one.points.filter((point) => known(point[1])).map((point) => point[0]));
    return [...new Set(all)].sort((a, b) => a - b);
  }

  draw() {
    const { width, height } = this.plot.getBoundingClientRect();
    const xs = this.xs;
    this.legend.replaceChildren(...this.series.map((one) => el("li", { class: one.tone }, one.name)));
    if (!xs.length || width < 60) {
      this.plot.setAttribute("aria-label", `${this.spec.title}: ${this.spec.empty}`);
      this.plot.replaceChildren(el("div", { class: "empty" }, this.spec.empty));
      return;
    }
    this.plot.setAttribute("aria-label", this.summary(xs.at(-1)));
    this.scale(xs, width, height);
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    this.axes(drawing, xs, width, height);
    for (const one of this.series) this.line(drawing, one);
    this.over = svg("g");
    drawing.append(this.over);
    this.tip = el("div", { class: "tip", hidden: "" });
    this.plot.replaceChildren(drawing, this.tip);
    this.place(this.at);
  }

  scale(xs, width, height) {
    const [low, high] = extent(this.series, this.spec.limits);
    const [first, last] = [xs[0], xs.at(-1)];
    const across = Math.max(last - first, 1e-9);
    const [w, h] = [width - EDGE.left - EDGE.right, height - EDGE.top - EDGE.bottom];
    Object.assign(this, { low, high });
    this.x = (value) => EDGE.left + (xs.length === 1 ? w / 2 : ((value - first) / across) * w);
    this.y = (value) => EDGE.top + h - ((value - low) / (high - low)) * h;
  }

  axes(drawing, xs, width, height) {
    for (const value of ticks(this.low, this.high, 4, { binary: this.spec.binary })) {
      const y = this.y(value);
      drawing.append(svg("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y, y2: y }));
      drawing.append(svg("text", { x: EDGE.left - 8, y: y + 4, "text-anchor": "end" }, this.spec.y(value)));
    }
    const bottom = height - EDGE.bottom;
    drawing.append(svg("line", { class: "axis", x1: EDGE.left, x2: width - EDGE.right, y1: bottom, y2: bottom }));
    const wanted = Math.floor((width - EDGE.left) / 95);
    const marks = xs.length === 1 ? xs : ticks(xs[0], xs.at(-1), wanted, { whole: this.spec.whole });
    for (const value of marks) {
      const x = this.x(value);
      const anchor = x > width - EDGE.right - 24 ? "end" : "middle";
      drawing.append(svg("text", { x, y: height - 6, "text-anchor": anchor }, this.spec.x(value)));
    }
  }

  line(drawing, one) {
    const tone = one.tone ?? "";
    for (const piece of pieces(one.band ?? [])) {
      const upper = piece.map((point) => `${this.x(point[0])},${this.y(point[2])}`);
      const lower = piece.map((point) => `${this.x(point[0])},${this.y(point[1])}`).reverse();
      drawing.append(svg("polygon", { class: `band ${tone}`, points: [...upper, ...lower].join(" ") }));
    }
    for (const piece of pieces(one.points)) {
      const at = piece.map((point) => `${this.x(point[0])},${this.y(point[1])}`);
      drawing.append(svg("polyline", { class: `line ${tone}`, points: at.join(" ") }));
    }
    const last = one.points.filter((point) => known(point[1])).at(-1);
    if (last) drawing.append(svg("circle", { class: `dot ${tone}`, cx: this.x(last[0]), cy: this.y(last[1]), r: 4 }));
  }

  point(clientX) {
    const xs = this.xs;
    if (!xs.length || !this.x) return;
    const at = clientX - this.plot.getBoundingClientRect().left;
    this.place(xs.reduce((best, x) => (Math.abs(this.x(x) - at) < Math.abs(this.x(best) - at) ? x : best)));
  }

  step(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const xs = this.xs;
    if (!move || !xs.length) return;
    event.preventDefault();
    const from = this.at === null ? (move < 0 ? xs.length : -1) : xs.indexOf(this.at);
    this.place(xs[Math.min(Math.max(from + move, 0), xs.length - 1)]);
    this.plot.setAttribute("aria-label", this.summary(this.at));
  }

  place(x) {
    this.at = x !== null && this.xs.includes(x) ? x : null;
    if (!this.over) return;
    this.over.replaceChildren();
    this.tip.hidden = this.at === null;
    if (this.at === null) return;
    const [left, { width, height }] = [this.x(this.at), this.plot.getBoundingClientRect()];
    this.over.append(svg("line", { class: "cursor", x1: left, x2: left, y1: EDGE.top, y2: height - EDGE.bottom }));
    for (const [one, value] of this.values(this.at)) {
      this.over.append(svg("circle", { class: `dot ${one.tone ?? ""}`, cx: left, cy: this.y(value), r: 4 }));
    }
    const lines = this.values(this.at).map(([one, value]) => el("p", {}, `${one.name}: ${this.spec.y(value)}`));
    this.tip.replaceChildren(el("p", { class: "head" }, this.head(this.at)), ...lines);
    const right = left > width / 2;
    this.tip.style.left = right ? "auto" : `${left + 12}px`;
    this.tip.style.right = right ? `${width - left + 12}px` : "auto";
  }

  head(x) {
    return (this.spec.head ?? this.spec.x)(x);
  }

  values(x) {
    return this.series
      .map((one) => [one, one.points.find((point) => point[0] === x)?.[1]])
      .filter(([, value]) => known(value));
  }

  summary(x) {
    const told = this.values(x).map(([one, value]) => `${one.name} ${this.spec.y(value)}`);
    return `${this.spec.title}, ${this.head(x)}: ${told.join(", ")}`;
  }
}
