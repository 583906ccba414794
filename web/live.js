// The live view: what `/metrics` says every two seconds, kept for some minutes, as charts and tables.
//
// Every figure is made of one answer, or of two: nothing is asked of the server but what Prometheus asks it.

import { address } from "./api.js";
import { Chart } from "./chart.js";
import { $, bytes, h, integer, remember, recall, share, short, time } from "./dom.js";
import { Between, Figures, NAMES } from "./figures.js";

// Seconds between two questions; seconds that charts show; answers that percentiles and rates of tables are made of.
const STEP = 2, SPAN = 300, LATELY = 15;
const LATENCY = "vllm:time_to_first_token_seconds";
const QUERY = NAMES.map(name => "name[]=" + encodeURIComponent(name)).join("&");
const PRECISIONS = { exact: "float32", int16: "16-bit integers", int8: "8-bit integers" };

let answers = [], models = [], paused = false, listener = () => {};

// Each chart: its title, its lines, the values of a stretch of time, and the figure above it.
const perSecond = value => short(value);
const CHARTS = [
  {
    title: "Tokens a second", lines: ["computed", "saved"], options: { show: perSecond, stacked: true, most: 10 },
    values: (between, of) => [between.rate("ironrank_computed_tokens_total", of), between.rate("ironrank_saved_tokens_total", of)],
    figure: ([computed, saved], between, of) => {
      const texts = between.rate("vllm:request_success_total", { ...of, finished_reason: "stop" });
      return [short(computed + saved), `${short(texts)} texts/s` + (saved > 0 ? `, ${share(saved / (computed + saved))} of their tokens saved` : "")];
    },
  },
  {
    title: "Use of the machine", lines: ["of the peak", "kernels at work"], options: { show: share, most: 1, limit: 1 },
    values: (between, of) => [between.share(of), between.rate("ironrank_model_seconds_total", of)],
    figure: ([peak, busy]) => [peak === undefined ? "–" : share(peak), peak === undefined ? "peak not measured yet" : busy > 0 ? `${share(peak / busy)} while at work` : ""],
  },
  {
    title: "Time to an answer", lines: ["p50", "p95", "p99"], options: { show: time, most: 0.002 },
    values: (between, of) => [0.5, 0.95, 0.99].map(part => between.quantile(LATENCY, part, of)),
    figure: values => [values[1] === undefined ? "–" : time(values[1]), values[1] === undefined ? "nothing was answered" : "or less, for 95 % of texts"],
  },
  {
    title: "Queue", lines: ["oldest waits"], options: { show: time, most: 0.01 },
    values: (between, of) => [between.later.most("ironrank_queue_age_seconds", of)],
    figure: ([age], between, of) => [time(age), `${integer(between.later.sum("vllm:num_requests_waiting", of) ?? 0)} wait, ${integer(between.later.sum("vllm:num_requests_running", of) ?? 0)} run`],
  },
  {
    title: "Requests a second", lines: ["2xx", "4xx", "5xx"], options: { show: perSecond, stacked: true, most: 1, colours: ["second", "third", "bad"] },
    values: between => ["2xx", "4xx", "5xx"].map(status => between.rate("http_requests_total", { status })),
    figure: values => [short(values.reduce((sum, value) => sum + value, 0)), "of all models"],
  },
  {
    title: "Caches", lines: ["prefixes", "answers"], options: { show: share, most: 1, limit: 1 },
    values: (between, of) => [fill(between.later, "prefix", of), fill(between.later, "answer", of)],
    figure: (_, between, of) => {
      const [hits, misses] = ["hits", "misses"].map(what => between.grew(`ironrank_answer_cache_${what}_total`, of));
      const held = (between.later.sum("ironrank_prefix_cache_bytes", of) ?? 0) + (between.later.sum("ironrank_answer_cache_bytes", of) ?? 0);
      return [bytes(held), hits + misses > 0 ? `${share(hits / (hits + misses))} had an answer kept` : "held"];
    },
  },
];

// How full the caches of some models are together: each has an equal part.
function fill(figures, kind, of) {
  const parts = figures.all(`ironrank_${kind}_cache_usage_ratio`, of);
  return parts.length ? parts.reduce((sum, { value }) => sum + value, 0) / parts.length : undefined;
}

const charts = CHARTS.map(({ title, lines, options }) => new Chart(title, lines, { ...options, longest: SPAN }));
const chosen = () => ({ model_name: $("live-model").value || undefined });

// What is known of the models besides their figures: `id`, `kind`, `length`, `root`.
export function serve(found) {
  models = found;
  draw();
}

// The models that the last answer tells of.
export function told() {
  return answers.at(-1)?.all("ironrank_model_info").map(({ labels }) => ({ id: labels.model_name, precision: PRECISIONS[labels.precision] ?? labels.precision })) ?? [];
}

export function begin(heard) {
  listener = heard;
  $("tiles").replaceChildren(...charts.map(chart => chart.element));
  $("live-model").replaceChildren(new Option("All", ""));
  $("live-model").addEventListener("change", () => {
    remember("live-model", $("live-model").value);
    draw();
  });
  $("pause").addEventListener("click", () => {
    paused = !paused;
    $("pause").setAttribute("aria-pressed", paused);
    $("pause").textContent = paused ? "Go on" : "Pause";
    if (!paused) draw();
  });
  // Who looks again wants to see now, not in two seconds.
  document.addEventListener("visibilitychange", () => document.hidden || ask());
  ask();
}

let timer, asking = false;

async function ask() {
  clearTimeout(timer);
  if (asking) return;
  asking = true;
  let failure = null;
  try {
    const response = await fetch(address("metrics?" + QUERY), { cache: "no-store", signal: AbortSignal.timeout(10_000) });
    const text = await response.text();
    if (!response.ok) throw new Error();
    answers.push(new Figures(text, performance.timeOrigin + performance.now()));
    const oldest = answers.at(-1).at - (SPAN + 2 * STEP) * 1000;
    answers = answers.filter(answer => answer.at >= oldest);
  } catch {
    failure = new Error("The server does not answer.");
  }
  asking = false;
  listener(failure, answers.at(-1));
  if (!failure && !paused) draw();
  timer = setTimeout(ask, (document.hidden ? 5 : 1) * STEP * 1000);
}

function draw() {
  const last = answers.at(-1);
  if (!last || $("live").hidden) return;
  const names = last.all("ironrank_model_info").map(({ labels }) => labels.model_name);
  if ([...$("live-model").options].slice(1).map(option => option.value).join("\n") !== names.join("\n")) {
    $("live-model").replaceChildren(new Option(names.length > 1 ? `All ${names.length}` : "All", ""), ...names.map(name => new Option(name, name)));
    if (names.includes(recall("live-model"))) $("live-model").value = recall("live-model");
  }
  const of = chosen();
  const stretches = answers.slice(1).map((answer, i) => new Between(answers[i], answer));
  const lately = new Between(answers.at(-1 - Math.min(LATELY, answers.length - 1)), last);
  charts.forEach((chart, i) => {
    const { values, figure } = CHARTS[i];
    const points = stretches.map(between => [between.later.at, values(between, of)]);
    chart.update(points, ...(points.length ? figure(points.at(-1)[1], stretches.at(-1), of) : ["–", ""]));
  });
  $("window").textContent = `Every ${STEP} s, for ${SPAN / 60} min; tables are of the last ${Math.max(STEP, Math.round(lately.seconds))} s`;
  $("tables").replaceChildren(modelsTable(lately, names), machineTable(last), requestsTable(lately));
}

function table(title, head, rows, empty = "Nothing yet.") {
  if (!rows.length) return h("section", {}, h("h2", {}, title), h("p", { className: "note" }, empty));
  const heads = head.map((name, i) => h("th", { scope: "col", className: i ? "number" : "" }, name));
  const cells = row => row.map((value, i) => h(i ? "td" : "th", i ? { className: "number" } : { scope: "row" }, value));
  return h("section", {}, h("h2", {}, title), h("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: title },
    h("table", {}, h("thead", {}, h("tr", {}, ...heads)), h("tbody", {}, ...rows.map(row => h("tr", {}, ...cells(row)))))));
}

function modelsTable(lately, names) {
  const head = ["Models", "precision", "tokens/s", "saved", "of the peak", "p50", "p95", "waiting", "running", "answered"];
  const rows = names.map(name => {
    const of = { model_name: name }, { later } = lately;
    const [computed, saved] = ["computed", "saved"].map(kind => (lately.seconds ? lately.rate(`ironrank_${kind}_tokens_total`, of) : NaN));
    const quantile = part => time(lately.quantile(LATENCY, part, of) ?? NaN);
    const known = models.find(model => model.id === name);
    const precision = later.label("ironrank_model_info", "precision", of);
    const notes = known ? [known.kind, known.dummy ? "made-up weights" : "", `up to ${integer(known.length)} tokens`].filter(Boolean).join(", ") : "";
    return [
      h("span", {}, name, h("small", {}, notes)), PRECISIONS[precision] ?? precision, short(computed + saved),
      computed + saved > 0 ? share(saved / (computed + saved)) : "–", lately.seconds ? share(lately.share(of) ?? NaN) : "–", quantile(0.5), quantile(0.95),
      integer(later.sum("vllm:num_requests_waiting", of) ?? 0), integer(later.sum("vllm:num_requests_running", of) ?? 0),
      integer(later.sum("vllm:request_success_total", { ...of, finished_reason: "stop" }) ?? 0),
    ];
  });
  return table("Models", ["", ...head.slice(1)], rows);
}

function requestsTable(lately) {
  const { later } = lately;
  const routes = [...new Set(later.all("http_requests_total").map(({ labels }) => labels.handler))].sort();
  const rows = routes.map(handler => {
    const counts = ["2xx", "4xx", "5xx"].map(status => integer(later.sum("http_requests_total", { handler, status }) ?? 0));
    const [took, count] = ["sum", "count"].map(what => later.sum(`http_request_duration_seconds_${what}`, { handler }) ?? 0);
    return [handler === "none" ? "other paths" : handler, ...counts, lately.seconds ? short(lately.rate("http_requests_total", { handler })) : "–", time(took / count)];
  });
  return table("Requests since the start", ["", "2xx", "4xx", "5xx", "now/s", "mean"], rows);
}

function machineTable(last) {
  const machine = name => last.label("ironrank_machine_info", name);
  const model = name => [...new Set(last.all("ironrank_model_info").map(({ labels }) => labels[name]))].join(", ");
  const [used, limit] = [last.sum("ironrank_private_memory_bytes"), last.sum("ironrank_memory_limit_bytes")];
  const peaks = last.all("ironrank_peak_flop_per_second").map(({ labels, value }) => [PRECISIONS[last.label("ironrank_model_info", "precision", { model_name: labels.model_name })], value]);
  const started = last.sum("process_start_time_seconds");
  const rows = [
    ["CPU", machine("cpu") || machine("arch")],
    ["Cores", `${machine("cores")}, ${machine("cpus")} CPUs`],
    ["Computes with", `${model("threads")} threads of ${model("isa")}`],
    ["Peak", [...new Map(peaks)].map(([name, peak]) => `${short(peak)}FLOP/s in ${name}`).join(", ") || "measured after the first request"],
    ["Memory", used === undefined ? "–" : bytes(used) + (limit ? ` of ${bytes(limit)}, without mapped weights` : "")],
    ["Up for", started ? time(last.at / 1000 - started) : "–"],
    ["Version", `ironrank ${machine("version")}`],
  ];
  return h("section", { className: "machine" }, h("h2", {}, "Machine"), h("dl", {}, ...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
}
