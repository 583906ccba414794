// openai for Node, which asks for base64 by itself and decodes whatever comes. What it counts, and that it came to its end, it tells
// as the scripts in Python do: tests/harness/checks.py.
"use strict";
const assert = require("node:assert/strict");
const fs = require("node:fs");
const OpenAI = require("openai");
const { VERSION } = require("openai/version");

const { SUBJECT_EMBED_URL: URL, SUBJECT_EMBED_MODEL: MODEL } = process.env;
const TEXTS = ["Paris is the capital of France, on the Seine.", "Bread is baked from flour, water and salt. 面包 🥖"];
const LONG = "a sentence of a long report, ".repeat(5000);
const client = new OpenAI({ baseURL: `${URL}/v1`, apiKey: "x", maxRetries: 0 });
const counts = { passed: 0, failed: 0, "not run": 0 };

async function check(claim, test) {
  const began = Date.now();
  const failed = await test().then(() => null, (error) => error);
  const told = `openai ${VERSION} for Node: ${claim} (${((Date.now() - began) / 1000).toFixed(1)} s)`;
  counts[failed ? "failed" : "passed"] += 1;
  console.log(failed ? `FAILED  ${told}\n${failed.stack}` : `ok      ${told}`);
}

async function ask(options) {
  const answer = await client.embeddings.create({ model: MODEL, input: TEXTS, ...options });
  return answer.data.map((item) => Array.from(item.embedding));
}

// What plain HTTP gives, each number a float32.
async function plain(fields) {
  const body = JSON.stringify({ model: MODEL, input: TEXTS, ...fields });
  const answer = await fetch(`${URL}/v1/embeddings`, { method: "POST", headers: { "Content-Type": "application/json" }, body });
  return (await answer.json()).data.map((item) => item.embedding);
}

(async () => {
  await check("the default call and floats give the vectors that plain HTTP gives", async () => {
    const vectors = await plain();
    assert.equal(vectors.length, TEXTS.length);
    assert.deepEqual(await ask(), vectors);
    assert.deepEqual(await ask({ encoding_format: "float" }), vectors);
  });
  await check("fewer dimensions and MODEL:query are those of plain HTTP", async () => {
    assert.deepEqual(await ask({ dimensions: 8 }), await plain({ dimensions: 8 }));
    const query = { model: `${MODEL}:query` };
    assert.deepEqual(await ask(query), await plain(query));
    assert.notDeepEqual(await ask(query), await plain());
  });
  await check("a text that is too long and another model are its errors", async () => {
    await assert.rejects(ask({ input: LONG }), { constructor: OpenAI.BadRequestError, message: /Please reduce the length/ });
    await assert.rejects(ask({ model: "text-embedding-3-small" }), { constructor: OpenAI.NotFoundError, message: /does not exist/ });
  });
  if (process.env.CHECKS) fs.writeFileSync(process.env.CHECKS, JSON.stringify(counts));
})();
