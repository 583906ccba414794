// What `/metrics` says, and what two answers of it say of the time between them.

// What is asked for: the page needs a tenth of it.
export const NAMES = [
  "ironrank_machine_info", "ironrank_model_info", "ironrank_computed_tokens_total", "ironrank_saved_tokens_total",
  "ironrank_flop_total", "ironrank_model_seconds_total", "ironrank_peak_flop_per_second", "ironrank_queue_age_seconds",
  "ironrank_prefix_cache_usage_ratio", "ironrank_prefix_cache_bytes",
  "ironrank_answer_cache_usage_ratio", "ironrank_answer_cache_bytes", "ironrank_answer_cache_hits_total",
  "ironrank_answer_cache_misses_total", "ironrank_private_memory_bytes", "ironrank_memory_limit_bytes",
  "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:time_to_first_token_seconds", "vllm:request_success_total",
  "http_requests_total", "http_request_duration_seconds", "process_start_time_seconds",
];

// One answer: series by name, each with its labels and its value.
export class Figures {
  constructor(text, at) {
    this.at = at;
    this.series = new Map();
    for (const line of text.split("\n")) {
      const found = line.match(/^([^#{\s]+)(?:\{(.*)\})? (\S+)$/);
      if (!found) continue;
      const labels = {};
      for (const [, name, value] of (found[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g))
        labels[name] = value.replace(/\\(.)/g, (_, escaped) => (escaped === "n" ? "\n" : escaped));
      if (!this.series.has(found[1])) this.series.set(found[1], []);
      this.series.get(found[1]).push({ labels, value: Number(found[3]) });
    }
  }

  // Series of a name that have all of these labels; one that is undefined is any.
  all(name, labels = {}) {
    const wanted = Object.entries(labels).filter(([, value]) => value !== undefined);
    return (this.series.get(name) ?? []).filter(series => wanted.every(([label, value]) => series.labels[label] === value));
  }

  // Their sum; undefined if there is none.
  sum(name, labels) {
    const found = this.all(name, labels);
    return found.length ? found.reduce((sum, { value }) => sum + value, 0) : undefined;
  }

  most(name, labels) {
    return Math.max(0, ...this.all(name, labels).map(({ value }) => value));
  }

  label(name, label, labels) {
    return this.all(name, labels)[0]?.labels[label];
  }
}

// What happened between two answers.
export class Between {
  constructor(earlier, later) {
    [this.earlier, this.later] = [earlier, later];
    this.seconds = (later.at - earlier.at) / 1000;
  }

  // How much a counter grew; after a restart it counts from nothing.
  grew(name, labels) {
    const [before, now] = [this.earlier.sum(name, labels) ?? 0, this.later.sum(name, labels) ?? 0];
    return now < before ? now : now - before;
  }

  rate(name, labels) {
    return this.grew(name, labels) / this.seconds;
  }

  // Below which `part` of what a histogram observed is, by a straight line within its bucket; undefined if nothing was.
  quantile(name, part, labels) {
    const bounds = new Map();
    const add = (figures, sign) => {
      for (const { labels: own, value } of figures.all(name + "_bucket", labels)) bounds.set(own.le, (bounds.get(own.le) ?? 0) + sign * value);
    };
    add(this.later, 1);
    if ((this.earlier.sum(name + "_count", labels) ?? 0) <= (this.later.sum(name + "_count", labels) ?? 0)) add(this.earlier, -1);
    const buckets = [...bounds].map(([le, count]) => [le === "+Inf" ? Infinity : Number(le), count]).sort((a, b) => a[0] - b[0]);
    const all = buckets.at(-1)?.[1] ?? 0;
    if (all <= 0) return undefined;
    let [low, below] = [0, 0];
    for (const [high, count] of buckets) {
      if (count >= part * all && count > below) return high === Infinity ? low : low + ((high - low) * (part * all - below)) / (count - below);
      [low, below] = [high, count];
    }
    return low;
  }

  // The share of what the threads could do that was done: operations of each model by the peak of its product, or
  // undefined while none is known.
  share(labels) {
    let found;
    for (const { labels: own, value: peak } of this.later.all("ironrank_peak_flop_per_second", labels))
      found = (found ?? 0) + this.rate("ironrank_flop_total", { model_name: own.model_name }) / peak;
    return found;
  }
}
