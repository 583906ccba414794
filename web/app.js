// The page: its views, the key, the colours, and what the server is.

import { Refused, address, ask, hasKey, useKey } from "./api.js";
import { $, recall, remember } from "./dom.js";
import * as live from "./live.js";
import * as playground from "./playground.js";

const VIEWS = ["playground", "live"];

let current = VIEWS[0];

function show(view) {
  current = view;
  for (const name of VIEWS) {
    const tab = $("tab-" + name), chosen = name === view;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    $(name).hidden = !chosen;
  }
  if (view === "live") live.serve(models);
}

function views() {
  const asked = () => VIEWS.find(view => "#/" + view === location.hash);
  for (const name of VIEWS) $("tab-" + name).addEventListener("click", () => (location.hash = "/" + name));
  document.querySelector("[role=tablist]").addEventListener("keydown", event => {
    const step = { ArrowLeft: 1, ArrowRight: 1, Home: 0, End: 0 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const at = event.key === "Home" ? 0 : event.key === "End" ? 1 : (VIEWS.indexOf(current) + step) % VIEWS.length;
    location.hash = "/" + VIEWS[at];
    $("tab-" + VIEWS[at]).focus();
  });
  window.addEventListener("hashchange", () => show(asked() ?? (location.hash ? current : VIEWS[0])));
  show(asked() ?? current);
}

function colours() {
  const names = ["auto", "light", "dark"];
  const wear = name => {
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    $("theme").textContent = name[0].toUpperCase() + name.slice(1);
    $("theme").title = `Colours: ${name === "auto" ? "as the system has them" : name}`;
    $("theme").dataset.now = name;
  };
  wear(names.includes(recall("theme", true)) ? recall("theme", true) : "auto");
  $("theme").addEventListener("click", () => {
    const next = names[(names.indexOf($("theme").dataset.now) + 1) % names.length];
    remember("theme", next === "auto" ? "" : next, true);
    wear(next);
  });
}

// Asks for the key, saying why.
function askForKey(why = "") {
  $("key-error").textContent = why;
  $("key-error").hidden = !why;
  $("key").value = "";
  $("key-forget").hidden = !hasKey();
  if (!$("key-dialog").open) $("key-dialog").showModal();
  $("key").focus();
}

function keys() {
  $("key-open").addEventListener("click", () => askForKey());
  $("key-cancel").addEventListener("click", () => $("key-dialog").close());
  $("key-forget").addEventListener("click", () => {
    useKey("");
    $("key-dialog").close();
    learn();
  });
  $("key-form").addEventListener("submit", event => {
    event.preventDefault();
    if (!$("key").value.trim()) return;
    useKey($("key").value);
    $("key-dialog").close();
    learn();
  });
}

let models = [];

// Learns which models there are, which may need the key.
async function learn() {
  try {
    const { answer: { auth } } = await ask("v1/cluster/auth");
    $("key-open").hidden = !auth && !hasKey();
    $("key-open").classList.toggle("missing", auth && !hasKey());
    if (auth && !hasKey()) return banner("This server asks for an API key: type it in with the button above.");
    const { answer } = await ask("v1/models");
    // Of several names of a model the first, which its figures carry.
    const told = live.told();
    const cards = answer.data.filter(card => !told.length || told.some(({ id }) => id === card.id));
    models = cards.map(card => ({
      id: card.id, kind: card.model_type, length: card.max_model_len, dummy: card.load_format === "dummy", precision: told.find(({ id }) => id === card.id)?.precision,
    }));
    playground.serve(models);
    live.serve(models);
    banner("");
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status === 401) askForKey(error.message);
    else if (error.status) banner(error.message);
  }
}

function banner(sentence) {
  $("banner").textContent = sentence;
  $("banner").hidden = !sentence;
}

let was = "";

// What the last question to the server came to.
function heard(failure, figures) {
  const names = failure ? "" : live.told().map(({ id }) => id).join("\n");
  $("state").className = failure ? "state bad" : "state good";
  $("state-text").textContent = failure ? failure.message : `${figures.label("ironrank_machine_info", "version") ?? ""} ready`;
  // At first, after a restart with other models, and when it is there again.
  if (!failure && names !== was) learn();
  was = names;
}

$("docs").href = address("docs").href;
views();
colours();
keys();
playground.begin();
live.begin(heard);
