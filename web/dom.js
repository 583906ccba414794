// Elements, numbers as people read them, and what a tab remembers.
//
// Texts go in as text, never as markup.

export const $ = id => document.getElementById(id);

// An element with properties, attributes where a name has a dash or there is no such property, and children.
export function h(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value;
    else if (value !== undefined) made.setAttribute(key === "className" ? "class" : key, value);
  }
  made.append(...children.flat().filter(child => child !== undefined && child !== null && child !== false));
  return made;
}

export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const integer = value => whole.format(value);

// Three digits that count, with the thousands as k, M, G.
export function short(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e4) {
    const [unit, suffix] = size >= 1e12 ? [1e12, "T"] : size >= 1e9 ? [1e9, "G"] : size >= 1e6 ? [1e6, "M"] : [1e3, "k"];
    return digits(value / unit) + "\u202f" + suffix;
  }
  return size >= 100 || value === Math.round(value) ? integer(value) : digits(value);
}

const digits = value => value.toFixed(Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2);

export function time(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 1e-3) return seconds === 0 ? "0 ms" : (seconds * 1e6).toFixed(0) + " µs";
  if (seconds < 1) return (seconds * 1e3).toFixed(seconds < 0.01 ? 1 : 0) + " ms";
  if (seconds < 120) return seconds.toFixed(seconds < 10 ? 2 : 1) + " s";
  if (seconds < 7200) return Math.round(seconds / 60) + " min";
  return seconds < 172800 ? Math.round(seconds / 3600) + " h" : Math.round(seconds / 86400) + " d";
}

export function share(value) {
  if (!Number.isFinite(value)) return "–";
  const percent = 100 * value;
  return percent.toFixed(percent > 0 && percent < 10 ? 1 : 0) + " %";
}

export const bytes = value => (value >= 1e9 ? (value / 1e9).toFixed(2) + " GB" : (value / 1e6).toFixed(value < 1e7 ? 1 : 0) + " MB");

export const plural = (count, one) => `${integer(count)} ${one}${count === 1 ? "" : "s"}`;

// What the tab, or the browser where `lasting`, keeps; a browser that keeps nothing is no reason to fail.
export function recall(name, lasting = false) {
  try {
    return (lasting ? localStorage : sessionStorage).getItem("ironrank." + name);
  } catch {
    return null;
  }
}

export function remember(name, value, lasting = false) {
  try {
    const store = lasting ? localStorage : sessionStorage;
    if (value) store.setItem("ironrank." + name, value);
    else store.removeItem("ironrank." + name);
  } catch {
    // It is forgotten with the page.
  }
}
