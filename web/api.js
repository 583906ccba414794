// The API of the server that this page is from, as any client asks it.

import { recall, remember } from "./dom.js";

// A proxy's prefix stays.
const base = new URL("../", import.meta.url);
export const address = path => new URL(path, base);

let key = recall("key") ?? "";

export const hasKey = () => key !== "";

export function useKey(given) {
  key = given.trim();
  remember("key", key);
}

// What the server refuses, in its own sentence.
export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

// The answer to a GET, or to a POST of `body`, and the seconds that it took.
export async function ask(path, { body, signal } = {}) {
  const headers = {};
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  const began = performance.now();
  let response, text;
  try {
    const request = { method: body ? "POST" : "GET", headers, signal, body: body && JSON.stringify(body), cache: "no-store" };
    response = await fetch(address(path), request);
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server does not answer.");
  }
  const seconds = (performance.now() - began) / 1000;
  if (!response.ok) throw new Refused(response.status, sentence(text) ?? `The server answered ${response.status} ${response.statusText}.`);
  return { answer: response.headers.get("content-type")?.includes("json") ? JSON.parse(text) : text, seconds, headers: response.headers };
}

function sentence(text) {
  try {
    const said = JSON.parse(text);
    return [said.error?.message, said.message, said.detail, said.error].find(said => typeof said === "string");
  } catch {
    return undefined;
  }
}
