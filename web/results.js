// What came of a request: a ranking, of one run or of two side by side, or a matrix of similarities.

import { h, integer, plural } from "./dom.js";

// Rows that are shown at first, and with every press of the button.
const ROWS = 100;
// Characters of a text that are shown before it is opened.
const CLIPPED = 280;
const LETTERS = ["A", "B"];

const number = score => (Math.abs(score) >= 100 ? score.toFixed(1) : score.toFixed(4));

// `runs` are of the same `texts`, each called by `unit` and number.
export function ranking(into, texts, runs, unit) {
  if (!runs.length) {
    into.replaceChildren(h("p", { className: "empty" }, "Results appear here, best first."));
    return;
  }
  const orders = runs.map(run => run.scores.map((_, i) => i).sort((a, b) => run.scores[b] - run.scores[a] || a - b));
  const places = orders.map(order => {
    const place = [];
    order.forEach((index, at) => (place[index] = at));
    return place;
  });
  const scales = runs.map(scale);
  const list = h("ol", { className: "ranking" });
  const more = h("button", { className: "more", type: "button" });
  let by = 0, shown = 0;
  const row = index => {
    const place = places[by][index], text = texts[index];
    const long = text.length > CLIPPED;
    const words = h("span", { className: "text" }, long ? text.slice(0, CLIPPED).trimEnd() + "…" : text);
    const opener = long && h("button", { type: "button", className: "open", "aria-expanded": "false" }, "all of it");
    if (long) {
      let open = false;
      opener.onclick = () => {
        open = !open;
        opener.setAttribute("aria-expanded", open);
        words.textContent = open ? text : text.slice(0, CLIPPED).trimEnd() + "…";
        opener.textContent = open ? "less" : "all of it";
      };
    }
    const measures = runs.map((run, i) => {
      const bar = h("span", { className: "bar " + LETTERS[i].toLowerCase() });
      bar.style.setProperty("--part", scales[i](run.scores[index]));
      const moved = runs.length === 2 && i !== by ? place - places[i][index] : undefined;
      return h("div", { className: "measure" },
        runs.length === 2 && h("abbr", { title: `Run ${LETTERS[i]}: place ${places[i][index] + 1}` }, LETTERS[i]),
        h("span", { className: "track", ariaHidden: "true" }, bar),
        h("data", { value: run.scores[index], title: String(run.scores[index]) }, number(run.scores[index])),
        runs.length === 2 && h("span", { className: "moved " + (moved > 0 ? "up" : moved < 0 ? "down" : "") }, move(moved)));
    });
    return h("li", {}, h("span", { className: "place" }, String(place + 1)),
      h("div", { className: "found" }, h("p", {}, words, " ", opener, h("small", {}, `${unit} ${index + 1}`)), ...measures));
  };
  const grow = () => {
    const next = orders[by].slice(shown, shown + ROWS);
    list.append(...next.map(row));
    shown += next.length;
    more.hidden = shown >= texts.length;
    more.textContent = `Show more: ${integer(texts.length - shown)} are left`;
  };
  const draw = () => {
    list.replaceChildren();
    shown = 0;
    grow();
  };
  more.onclick = grow;
  draw();
  const above = runs.length === 2 ? sides(runs, places, orders, () => by, chosen => {
    by = chosen;
    draw();
  }) : [];
  into.replaceChildren(...above, list, more);
}

const move = by => (by === undefined ? "" : by > 0 ? `▲ ${by}` : by < 0 ? `▼ ${-by}` : "=");

// From a score to the part of the bar that is full. Sigmoids and cosines fill it by themselves.
function scale({ scores }) {
  const [least, most] = scores.reduce(([least, most], score) => [Math.min(least, score), Math.max(most, score)], [Infinity, -Infinity]);
  if (least >= -1 && most <= 1) return score => Math.max(0, score);
  return score => (most > least ? 0.03 + (0.97 * (score - least)) / (most - least) : 1);
}

// What the two runs are, in how far they agree, and by which of them the list is ordered.
function sides(runs, places, orders, current, choose) {
  const count = runs[0].scores.length;
  const told = [orders[0][0] === orders[1][0] ? "The same document comes first." : "Another document comes first."];
  if (count > 2) {
    const squares = places[0].reduce((sum, place, index) => sum + (place - places[1][index]) ** 2, 0);
    told.push(`Rank correlation ${(1 - (6 * squares) / (count * (count * count - 1))).toFixed(3)}.`);
  }
  const moved = places[0].filter((place, index) => place !== places[1][index]).length;
  told.push(moved ? `${plural(moved, "document")} of ${integer(count)} changed place.` : "No document changed place.");
  if (runs[0].model.kind === runs[1].model.kind) {
    const change = Math.max(...runs[0].scores.map((score, index) => Math.abs(score - runs[1].scores[index])));
    told.push(`Scores differ by up to ${change.toPrecision(2)}.`);
  }
  const head = (run, i) => h("label", { className: "side" },
    Object.assign(h("input", { type: "radio", name: "by", checked: i === current() }), { onchange: () => choose(i) }),
    h("b", { className: LETTERS[i].toLowerCase() }, LETTERS[i]), h("span", {}, run.model.id, h("small", {}, run.model.precision ?? ""), h("em", {}, run.instruction || "the server's instruction")));
  return [
    h("fieldset", { className: "sides" }, h("legend", {}, "Ordered by"), ...runs.map(head)),
    h("p", { className: "note" }, told.join(" ")),
  ];
}

// Cosines of texts with each other.
export function matrix(into, texts, cells) {
  const small = texts.length <= 14;
  const off = cells.flatMap((row, i) => row.filter((_, j) => i !== j));
  const least = off.length ? Math.min(...off) : 0, most = off.length ? Math.max(...off) : 1;
  const clip = text => (text.length > 60 ? text.slice(0, 60) + "…" : text);
  const label = index => `${index + 1}. ${clip(texts[index])}`;
  const cell = (value, i, j) => {
    const made = h("td", { title: `${i + 1} and ${j + 1}: ${value.toFixed(4)}` }, small ? value.toFixed(2) : "");
    // Of what differs, all of the colour; a text is like itself.
    const part = i === j ? 1 : most > least ? (value - least) / (most - least) : 0.5;
    made.style.setProperty("--part", part.toFixed(3));
    if (i === j) made.className = "self";
    else made.className = part > 0.78 ? "full" : part > 0.45 ? "half" : "";
    [made.dataset.i, made.dataset.j] = [i, j];
    return made;
  };
  const table = h("table", { className: small ? "matrix" : "matrix dense" }, h("caption", {}, `Cosines, from ${least.toFixed(3)} to ${most.toFixed(3)} between different texts`),
    h("thead", {}, h("tr", {}, h("td"), ...texts.map((text, j) => h("th", { scope: "col", title: text.slice(0, 300) }, String(j + 1))))),
    h("tbody", {}, ...cells.map((row, i) => h("tr", {}, h("th", { scope: "row", title: texts[i].slice(0, 300) }, label(i)), ...row.map((value, j) => cell(value, i, j))))));
  const readout = h("p", { className: "note", ariaLive: "off" }, nearest(texts, cells, label));
  table.onpointerover = event => {
    const { i, j } = event.target.dataset;
    if (i !== undefined) readout.textContent = `${cells[i][j].toFixed(4)}: ${label(+i)} · ${label(+j)}`;
  };
  into.replaceChildren(readout, h("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "Matrix of similarities" }, table));
}

function nearest(texts, cells, label) {
  let best = null;
  for (let i = 0; i < texts.length; i++) for (let j = 0; j < i; j++) if (!best || cells[i][j] > cells[best[0]][best[1]]) best = [i, j];
  return best ? `Nearest: ${label(best[1])} · ${label(best[0])}, ${cells[best[0]][best[1]].toFixed(4)}` : "One text is like itself.";
}
