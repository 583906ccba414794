// The playground: a form becomes requests to the public API, answers become a ranking or a matrix.

import { Refused, ask } from "./api.js";
import { lines, passages } from "./documents.js";
import { $, integer, plural, recall, remember, short, time } from "./dom.js";
import { matrix, ranking } from "./results.js";
import { snippets } from "./snippets.js";

const EXAMPLE = {
  query: "How do I stop bread from going stale?",
  documents: `Keep a loaf cut side down on a board, or in a cloth bag: the crust holds moisture in and mould out.
A sourdough starter wants flour and water at the same time every day.
Bread goes stale faster in a refrigerator, because starch crystallises soonest just above freezing.
Slice it, freeze it the day it is baked, and toast it from frozen.
The Staffordshire town of Stone lies on the river Trent.
Stale bread makes good crumbs, French toast and panzanella.
Butter that stands in the light turns rancid.
Bread was taxed in Athens, and its price was fixed by law.`,
};
const FIELDS = ["query", "instruction", "instruction-b", "documents", "words"];
// Characters of a field that a tab keeps, bytes of a file that is taken, and texts of a matrix.
const MOST_KEPT = 200_000, MOST_BYTES = 20_000_000, MOST_CELLS = 100;
// What Qwen's embedding models were trained with before a query.
const asked = (instruction, query) => `Instruct: ${instruction}\nQuery:${query}`;

const form = $("ask");
let models = [], running = null, done = null;

const chosen = name => form.elements[name].value;
const modelOf = id => models.find(model => model.id === id) ?? models[0];
const isEmbedder = model => model?.kind === "embedding";
const documents = () => (chosen("split") === "lines" ? lines($("documents").value) : passages($("documents").value, Math.max(10, +$("words").value || 120)));

// The models that there are now, each with `id`, `kind`, `precision` and `dummy`.
export function serve(found) {
  models = found;
  for (const id of ["model", "model-b"]) {
    const before = $(id).value || recall(id);
    $(id).replaceChildren(...found.map(model => new Option(`${model.id} · ${model.precision ?? model.kind}`, model.id)));
    if (found.some(model => model.id === before)) $(id).value = before;
    else if (id === "model-b") $(id).value = (found.find(model => model.kind === found[0].kind && model.id !== found[0].id) ?? found[0]).id;
  }
  show();
}

// Shows what is of use for the model that is chosen.
function show() {
  const model = modelOf($("model").value), embeds = isEmbedder(model);
  $("task").hidden = !embeds;
  if (!embeds) chosen("task") === "rank" || (form.elements.task.value = "rank");
  const asMatrix = chosen("task") === "matrix";
  $("dummy").hidden = !model?.dummy;
  for (const id of ["query-field", "instruction-field", "compare"]) $(id).hidden = asMatrix;
  $("scores").hidden = embeds;
  $("documents-title").textContent = asMatrix ? "Texts" : "Documents";
  $("instruction").placeholder = "Given a web search query, retrieve relevant passages that answer the query";
  $("words-field").hidden = chosen("split") === "lines";
  $("run").textContent = asMatrix ? "Compare all" : $("compare").open ? "Rank both" : "Rank";
  count();
}

function count() {
  const found = documents();
  const characters = found.reduce((sum, text) => sum + text.length, 0);
  $("count").textContent = found.length ? `${integer(found.length)}, ${short(characters)} characters` : "none";
}

// One ranking: what was asked, the scores in the order of the documents, tokens and seconds.
async function rank(model, query, instruction, texts, signal) {
  const cut = $("truncate").checked ? { truncate_prompt_tokens: -1 } : {};
  if (!isEmbedder(model)) {
    const raw = chosen("raw") ? { use_activation: false } : {};
    const body = { model: model.id, query, documents: texts, ...(instruction && { instruction }), ...raw, ...cut };
    const { answer, seconds } = await ask("v1/rerank", { body, signal });
    const scores = [];
    for (const result of answer.results) scores[result.index] = result.relevance_score;
    return { model, instruction, requests: [["v1/rerank", body]], scores, tokens: answer.usage.prompt_tokens ?? answer.usage.total_tokens, seconds };
  }
  const first = instruction ? { input: asked(instruction, query) } : { input: query, input_type: "query" };
  const bodies = [first, { input: texts, input_type: "document" }].map(body => ({ model: model.id, ...body, ...cut }));
  const answers = [];
  for (const body of bodies) answers.push(await vectors(body, signal));
  const [[queried], found] = answers.map(answer => answer.vectors);
  return {
    model, instruction, requests: bodies.map(body => ["v1/embeddings", body]), scores: found.map(vector => cosine(queried, vector)),
    tokens: answers[0].tokens + answers[1].tokens, seconds: answers[0].seconds + answers[1].seconds,
  };
}

async function vectors(body, signal) {
  const { answer, seconds } = await ask("v1/embeddings", { body: { ...body, encoding_format: "base64" }, signal });
  const decode = text => new Float32Array(Uint8Array.from(atob(text), character => character.charCodeAt(0)).buffer);
  return { vectors: answer.data.map(item => decode(item.embedding)), tokens: answer.usage.prompt_tokens, seconds };
}

function cosine(a, b) {
  let dot = 0, aa = 0, bb = 0;
  for (let i = 0; i < a.length; i++) {
    dot += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return dot / Math.sqrt(aa * bb || 1);
}

async function run() {
  const texts = documents(), query = $("query").value.trim();
  const asMatrix = chosen("task") === "matrix";
  const missing = !models.length ? null : !asMatrix && !query ? "query" : !texts.length ? "documents" : undefined;
  if (missing !== undefined) {
    refuse(missing === null ? "No model is known yet." : missing === "query" ? "Type a query first." : "There are no documents yet.");
    if (missing) $(missing).focus();
    return;
  }
  if (asMatrix && texts.length > MOST_CELLS) return refuse(`A matrix takes up to ${MOST_CELLS} texts, and these are ${integer(texts.length)}.`);
  stop();
  const mine = (running = new AbortController());
  refuse("");
  busy(true);
  try {
    const model = modelOf($("model").value), { signal } = mine;
    if (asMatrix) {
      const body = { model: model.id, input: texts, ...($("truncate").checked && { truncate_prompt_tokens: -1 }) };
      const found = await vectors(body, signal);
      const cells = found.vectors.map(a => found.vectors.map(b => cosine(a, b)));
      done = { model, requests: [["v1/embeddings", body]] };
      tell([found], plural(texts.length, "text"));
      matrix($("results"), texts, cells);
    } else {
      const instruction = $("instruction").value.trim();
      const runs = [await rank(model, query, instruction, texts, signal)];
      if ($("compare").open)
        // One after the other, so that neither slows the other down.
        runs.push(await rank(modelOf($("model-b").value), query, $("instruction-b").value.trim() || instruction, texts, signal));
      done = runs[0];
      tell(runs, plural(texts.length, "document"));
      ranking($("results"), texts, runs, chosen("split") === "lines" ? "line" : "passage");
    }
    code();
  } catch (error) {
    if (running !== mine) return;
    if (error.name === "AbortError") $("summary").textContent = "Stopped.";
    else refuse(error.message);
    if (!(error instanceof Refused) && error.name !== "AbortError") throw error;
  } finally {
    if (running === mine) {
      running = null;
      busy(false);
    }
  }
}

function stop() {
  running?.abort();
}

function busy(is) {
  $("stop").hidden = !is;
  $("run").setAttribute("aria-busy", is);
  $("results").classList.toggle("old", is);
  if (is) $("summary").textContent = "Working";
}

function refuse(sentence) {
  $("error").textContent = sentence;
  $("error").hidden = !sentence;
  if (sentence) $("summary").textContent = "";
}

// What the runs took.
function tell(runs, what) {
  const told = runs.map(({ tokens, seconds }) => `${plural(tokens, "token")} in ${time(seconds)}, ${short(tokens / seconds)} tokens/s`);
  $("summary").textContent = `${what}. ` + (told.length === 1 ? told[0] : `A: ${told[0]}. B: ${told[1]}`) + ".";
}

function code() {
  $("copy").hidden = !done;
  if (done) $("snippet").textContent = snippets[document.querySelector("[name=copy]:checked").value](done);
}

async function copy() {
  try {
    await navigator.clipboard.writeText($("snippet").textContent);
  } catch {
    // A page of plain http may not write there; what is selected can be copied.
    getSelection().selectAllChildren($("snippet"));
    if (!document.execCommand("copy")) return;
  }
  $("copy-button").textContent = "Copied";
  setTimeout(() => ($("copy-button").textContent = "Copy"), 1500);
}

async function take(files) {
  const texts = [];
  for (const file of files) {
    if (file.size > MOST_BYTES) return refuse(`${file.name} has ${short(file.size)} bytes; the playground takes up to ${short(MOST_BYTES)}.`);
    const text = await file.text();
    if (text.includes("\0")) return refuse(`${file.name} is no text.`);
    texts.push(text.trim());
  }
  if (!texts.length) return;
  refuse("");
  $("documents").value = texts.join("\n\n").replaceAll("\r\n", "\n");
  // A line of an article is no document.
  if (lines(texts.join("\n")).some(line => line.length > 1500)) form.elements.split.value = "passages";
  changed();
}

function changed() {
  for (const id of FIELDS) remember(id, $(id).value.length <= MOST_KEPT ? $(id).value : "");
  for (const name of ["split", "raw", "task"]) remember(name, chosen(name));
  for (const id of ["model", "model-b"]) remember(id, $(id).value);
  show();
}

export function begin() {
  for (const id of FIELDS) if (recall(id)) $(id).value = recall(id);
  for (const name of ["split", "raw", "task"]) if (recall(name)) form.elements[name].value = recall(name);
  let later;
  form.addEventListener("submit", event => {
    event.preventDefault();
    // What is asked is what is kept, however soon the page is left.
    clearTimeout(later);
    changed();
    run();
  });
  form.addEventListener("input", event => {
    clearTimeout(later);
    // Splitting a long text at every key would be felt.
    later = setTimeout(changed, event.target.id === "documents" ? 200 : 0);
  });
  form.addEventListener("keydown", event => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    if (event.key === "Escape" && running) stop();
  });
  $("compare").addEventListener("toggle", show);
  $("stop").addEventListener("click", stop);
  $("example").addEventListener("click", () => {
    [$("query").value, $("documents").value, form.elements.split.value] = [EXAMPLE.query, EXAMPLE.documents, "lines"];
    changed();
    $("run").focus();
  });
  $("file").addEventListener("change", () => take($("file").files).then(() => ($("file").value = "")));
  const field = $("documents");
  field.addEventListener("dragover", event => {
    event.preventDefault();
    field.classList.add("drop");
  });
  field.addEventListener("dragleave", () => field.classList.remove("drop"));
  field.addEventListener("drop", event => {
    field.classList.remove("drop");
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    take(event.dataTransfer.files);
  });
  $("copy").addEventListener("change", code);
  $("copy-button").addEventListener("click", copy);
  ranking($("results"), [], [], "line");
  show();
}
