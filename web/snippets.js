// What was asked, for a shell, for Python and for RAGFlow. A key is never written down.

import { address, hasKey } from "./api.js";

const quoted = text => `'${text.replaceAll("'", `'"'"'`)}'`;
const body = ([, body]) => JSON.stringify(body, null, 2);

// A value of JSON as Python writes it.
function python(value, indent = "") {
  const inner = indent + "    ";
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[\n${value.map(item => `${inner}${python(item, inner)},\n`).join("")}${indent}]`;
  if (typeof value === "object")
    return `{\n${Object.entries(value).map(([key, item]) => `${inner}${JSON.stringify(key)}: ${python(item, inner)},\n`).join("")}${indent}}`;
  return JSON.stringify(value);
}

const PRINT = {
  "v1/rerank": `for result in answer.json()["results"]:
    print(result["relevance_score"], result["index"])`,
  "v1/embeddings": `for item in answer.json()["data"]:
    print(item["index"], item["embedding"][:4])`,
};

export const snippets = {
  curl: ({ requests }) =>
    requests.map(request => [
      `curl -s ${quoted(address(request[0]).href)}`,
      ...(hasKey() ? [`-H "Authorization: Bearer $API_KEY"`] : []),
      `-H 'Content-Type: application/json'`,
      `-d ${quoted(body(request))}`,
    ].join(" \\\n  ")).join("\n\n"),

  python: ({ requests }) => {
    const headers = hasKey() ? `, headers={"Authorization": f"Bearer {os.environ['API_KEY']}"}` : "";
    const calls = requests.map(([path, body]) =>
      `answer = requests.post(${JSON.stringify(address(path).href)}${headers}, timeout=60, json=${python(body)})
answer.raise_for_status()
${PRINT[path]}`);
    return [(hasKey() ? "import os\n\n" : "") + "import requests", ...calls].join("\n\n") + "\n";
  },

  ragflow: ({ model, instruction }) => {
    const kind = model.kind === "embedding" ? "embedding" : "rerank";
    const said = [
      "Model providers, VLLM, Add the model:",
      "",
      `Model type   ${kind}`,
      `Model name   ${model.id}`,
      `Base URL     ${address("v1").href}`,
      `API key      ${hasKey() ? "yours" : "anything"}`,
      "",
    ];
    if (kind === "rerank" && !model.id.includes("rerank"))
      said.push("RAGFlow takes a model for a reranker only if its name has 'rerank' in it: start the server with --served-model-name.");
    if (["localhost", "127.0.0.1", "[::1]"].includes(address("").hostname))
      said.push("In RAGFlow's container localhost is the container itself: put the name of this machine there.");
    if (kind === "rerank") said.push("Start the server with --overflow truncate: RAGFlow sends chunks whole, however long.");
    if (kind === "rerank" && instruction) said.push(`RAGFlow sends no instruction: start the server with --instruction ${quoted(instruction)}`);
    return said.join("\n") + "\n";
  },
};
