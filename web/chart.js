// A chart of a few lines over the last minutes, as SVG: drawn anew with every point.

import { h, svg } from "./dom.js";

const HEIGHT = 116, LEFT = 50, BOTTOM = 16, TOP = 6;
// Seconds that are shown at least, and those between marks of the time.
const LEAST = 60, MARKS = [15, 30, 60];

export class Chart {
  // `lines` are names of what is drawn, `show` says a value, `most` is the least upper end of the scale, `stacked` puts
  // each line on the one before, `limit` is what none exceeds; `colours` are the lines'. `longest` are the seconds that are
  // shown once there are so many.
  constructor(title, lines, { show, most = 0, stacked = false, longest, limit = Infinity, colours = ["accent", "second", "third"] }) {
    Object.assign(this, { lines, show, most, stacked, longest, limit, colours, points: [], at: null });
    this.figure = h("strong", {}, "–");
    this.keys = lines.map((name, i) => h("span", {}, h("i", { className: `key c-${colours[i]}` }), name, " ", h("b", {}, "–")));
    this.plot = svg("svg", { role: "img", height: HEIGHT, tabindex: 0 });
    this.note = h("small", {}, "");
    this.element = h("article", { className: "tile" }, h("h2", {}, title), h("p", { className: "figure" }, this.figure, this.note),
      h("p", { className: "keys" }, ...this.keys), this.plot);
    this.title = title;
    this.plot.addEventListener("pointermove", event => this.look(this.indexAt(event.clientX - this.plot.getBoundingClientRect().left)));
    this.plot.addEventListener("pointerleave", () => this.look(null));
    this.plot.addEventListener("blur", () => this.look(null));
    this.plot.addEventListener("keydown", event => {
      const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
      if (!step) return;
      event.preventDefault();
      const last = this.points.length - 1;
      this.look(Math.max(0, Math.min(last, (this.at ?? last) + step)));
    });
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  // `points` are [time in ms, values], in order; a value may be undefined.
  update(points, figure, note = "") {
    this.points = points;
    this.figure.textContent = figure;
    this.note.textContent = note;
    if (this.at !== null) this.at = Math.min(this.at, points.length - 1);
    this.draw();
  }

  look(index) {
    this.at = this.points.length ? index : null;
    this.draw();
  }

  indexAt(x) {
    let best = 0;
    for (const [i, [time]] of this.points.entries()) if (Math.abs(this.x(time) - x) < Math.abs(this.x(this.points[best][0]) - x)) best = i;
    return best;
  }

  x(time) {
    const end = this.points.at(-1)[0];
    return LEFT + (this.width - LEFT) * (1 + (time - end) / 1000 / this.span);
  }

  draw() {
    this.width = this.plot.clientWidth;
    if (!this.width) return;
    const [first, last] = [this.points[0]?.[0] ?? 0, this.points.at(-1)?.[0] ?? 0];
    this.span = Math.min(this.longest, Math.max(LEAST, (last - first) / 1000));
    const shown = this.at ?? this.points.length - 1;
    const values = this.points[shown]?.[1] ?? [];
    this.keys.forEach((key, i) => (key.lastChild.textContent = values[i] === undefined ? "–" : this.show(values[i])));
    const sums = this.points.map(([, values]) => (this.stacked ? values.map((_, i) => values.slice(0, i + 1).reduce((sum, value) => sum + (value ?? 0), 0)) : values));
    const top = Math.min(this.limit, ceiling(Math.max(this.most, ...sums.flat().filter(Number.isFinite))));
    const y = value => TOP + (HEIGHT - TOP - BOTTOM) * (1 - Math.min(1, value / top));
    const parts = [];
    for (const part of [0, 0.5, 1]) {
      const at = y(part * top);
      parts.push(svg("line", { class: "grid", x1: LEFT, x2: this.width, y1: at, y2: at }));
      if (top > 0) parts.push(svg("text", { x: LEFT - 6, y: at + 4, "text-anchor": "end" }, this.show(part * top)));
    }
    const mark = MARKS.find(mark => this.span / mark <= 5) ?? MARKS.at(-1);
    for (let ago = 0; ago < 0.95 * this.span; ago += mark) {
      const x = LEFT + (this.width - LEFT) * (1 - ago / this.span);
      const text = mark < 60 ? `−${ago} s` : `−${ago / 60} min`;
      parts.push(svg("text", { x, y: HEIGHT - 3, "text-anchor": ago ? "middle" : "end" }, ago ? text : "now"));
    }
    if (this.points.length) {
      const order = this.lines.map((_, i) => i);
      if (this.stacked) order.reverse();
      for (const i of order) {
        const runs = segments(this.points.map(([time], at) => [this.x(time), sums[at][i]])).map(run => run.map(([x, value]) => [x, y(value)]));
        for (const run of runs) {
          const line = run.map(([x, at]) => `${x.toFixed(1)},${at.toFixed(1)}`).join("L");
          if (this.stacked) parts.push(svg("path", { class: `area c-${this.colours[i]}`, d: `M${run[0][0].toFixed(1)},${y(0)}L${line}L${run.at(-1)[0].toFixed(1)},${y(0)}Z` }));
          parts.push(svg("path", { class: `line c-${this.colours[i]}`, d: `M${line}` }));
        }
      }
      if (this.at !== null) parts.push(svg("line", { class: "cursor", x1: this.x(this.points[shown][0]), x2: this.x(this.points[shown][0]), y1: TOP, y2: HEIGHT - BOTTOM }));
    }
    this.plot.setAttribute("viewBox", `0 0 ${this.width} ${HEIGHT}`);
    const ago = this.at === null ? "" : `, ${Math.round((this.points.at(-1)[0] - this.points[shown][0]) / 1000)} seconds ago`;
    this.plot.setAttribute("aria-label", `${this.title}${ago}: ` + this.lines.map((name, i) => `${name} ${this.keys[i].lastChild.textContent}`).join(", "));
    this.plot.replaceChildren(...parts);
  }
}

// Stretches of points that have a value.
function segments(points) {
  const found = [];
  let open = null;
  for (const point of points) {
    if (!Number.isFinite(point[1])) open = null;
    else if (open) open.push(point);
    else found.push((open = [point]));
  }
  return found;
}

// The next of 1, 2, 5, 10, ... from `value` on.
function ceiling(value) {
  if (!(value > 0)) return 1;
  const decade = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map(step => step * decade).find(step => step >= value * 0.999);
}
