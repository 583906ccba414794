-- Requests for wrk: one pair each, a new query of 8 words and a new document of WORDS words every time, so that nothing
-- but the system prompt and the instruction is shared between them.
local nouns = {
  "river", "bridge", "engine", "valley", "teacher", "market", "winter", "copper", "garden", "harbour", "signal", "library",
  "mountain", "contract", "battery", "language", "hospital", "current", "furnace", "orchard", "railway", "satellite",
}
local rest = {
  "the", "a", "of", "in", "and", "carries", "measures", "older", "between", "because", "was", "built", "under", "slowly",
  "reached", "every", "without", "large", "from", "which", "during", "several", "keeps", "near",
}
local words = tonumber(os.getenv("WORDS") or "60")
local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("seed", threads)
end

function init()
  math.randomseed(seed + os.time())
  wrk.method = "POST"
  wrk.path = "/v1/rerank"
  wrk.headers["Content-Type"] = "application/json"
end

local function text(count)
  local out = {}
  for i = 1, count do
    local from = i % 3 == 0 and nouns or rest
    out[i] = from[math.random(#from)]
  end
  return table.concat(out, " ")
end

function request()
  return wrk.format(nil, nil, nil, string.format('{"query":"%s?","documents":["%s."]}', text(8), text(words)))
end

function done(summary, latency)
  local bad = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write
    + summary.errors.timeout
  print(string.format("%d %d %d %d %d %d", summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    math.floor(latency.mean), bad))
end
