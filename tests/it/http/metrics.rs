//! Metrics: every name and label that vLLM 0.32 has, and what dashboards read of them, before and after requests.

use super::{MAX_MODEL_LEN, subject_alone, subject_that_is_full, subject_that_keeps_answers};
use actix_web::test::{TestRequest, call_and_read_body, call_service, init_service};
use actix_web::web::Data;
use ironrank::server::{State, app};
use ironrank_kernels::Isa;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A name with its labels.
type Series = (String, BTreeMap<String, String>);

/// Reads Prometheus' text format. Label values here hold neither quotes nor commas.
fn parse(text: &str) -> BTreeMap<Series, f64> {
    let mut all = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value in {line}"));
        let (name, labels) = series.strip_suffix('}').and_then(|s| s.split_once('{')).unwrap_or((series, ""));
        let label = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or_else(|| panic!("no label in {line}"));
            (name.to_owned(), value.trim_matches('"').to_owned())
        };
        let labels = labels.split(',').filter(|pair| !pair.is_empty()).map(label).collect();
        let twice = all.insert((name.to_owned(), labels), value.parse().expect("a number"));
        assert!(twice.is_none(), "{line} is there twice");
    }
    all
}

pub async fn text(subject: &Data<State>) -> String {
    let service = init_service(app(subject.clone())).await;
    let answer = call_and_read_body(&service, TestRequest::get().uri("/metrics").to_request()).await;
    String::from_utf8(answer.to_vec()).expect("UTF-8")
}

async fn scrape(subject: &Data<State>) -> BTreeMap<Series, f64> {
    parse(&text(subject).await)
}

async fn post(subject: &Data<State>, path: &str, body: Value) -> u16 {
    let service = init_service(app(subject.clone())).await;
    call_service(&service, TestRequest::post().uri(path).set_json(body).to_request()).await.status().as_u16()
}

/// A series by its name and some of its labels.
fn value(metrics: &BTreeMap<Series, f64>, name: &str, labels: &[(&str, &str)]) -> f64 {
    let fits = |(found, of): &Series| found == name && labels.iter().all(|(k, v)| of.get(*k).is_some_and(|x| x == v));
    let found: Vec<f64> = metrics.iter().filter(|(series, _)| fits(series)).map(|(_, value)| *value).collect();
    assert_eq!(found.len(), 1, "{name} {labels:?}");
    found[0]
}

/// Some of each kind of request. What they have in common with those of another `round` is in the prefix cache.
async fn requests(subject: &Data<State>, round: usize) {
    let documents: Vec<String> = (0..20).map(|i| format!("Document {i} of round {round} is about saws.")).collect();
    let body = json!({"query": format!("saws and {round}"), "documents": documents});
    assert_eq!(post(subject, "/v1/rerank", body).await, 200);
    let body = json!({"text_1": "a query", "text_2": [format!("the document {round}"), "another"]});
    assert_eq!(post(subject, "/score", body).await, 200);
    assert_eq!(post(subject, "/rerank", json!({"query": "q", "documents": []})).await, 400);
    assert_eq!(post(subject, "/nope", json!({})).await, 404);
}

#[actix_web::test]
async fn every_recorded_name_and_label_is_there() {
    let subject = subject_alone();
    requests(&subject, 0).await;
    let ours: BTreeSet<Series> = scrape(&subject).await.into_keys().collect();
    let keys = |(name, labels): &Series| (name.clone(), labels.keys().cloned().collect::<Vec<_>>());
    let our_keys: BTreeSet<_> = ours.iter().map(keys).collect();
    let recorded: Vec<Series> = parse(&super::replay::recorded_metrics()).into_keys().collect();
    let (mut exact, mut missing) = (0, Vec::new());
    for series in &recorded {
        let there = match series.0.as_str() {
            name if name.starts_with("python_") => continue,
            // Values describe the machine and the requests of the recording.
            name if name.starts_with("http_") || name.starts_with("process_") || name == "vllm:cache_config_info" => {
                our_keys.contains(&keys(series))
            }
            _ => {
                exact += 1;
                ours.contains(series)
            }
        };
        if !there {
            missing.push(series);
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(exact > 300, "only {exact} series of vLLM were recorded");
}

#[actix_web::test]
async fn the_types_are_those_of_vllm() {
    let subject = subject_alone();
    requests(&subject, 0).await;
    let ours = text(&subject).await;
    let ours: BTreeSet<&str> = ours.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    let recorded = super::replay::recorded_metrics();
    let theirs = recorded.lines().filter(|line| line.starts_with("# TYPE ") && !line.contains(" python_"));
    let missing: Vec<&str> = theirs.filter(|line| !ours.contains(line)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[actix_web::test]
async fn counts_are_true() {
    let subject = subject_alone();
    requests(&subject, 0).await;
    requests(&subject, 1).await;
    let metrics = scrape(&subject).await;
    let vllm = |name: &str| value(&metrics, &format!("vllm:{name}"), &[("engine", "0"), ("model_name", "tiny")]);
    let own = |name: &str| value(&metrics, &format!("ironrank_{name}"), &[]);
    for histogram in [
        "e2e_request_latency_seconds",
        "time_to_first_token_seconds",
        "request_queue_time_seconds",
        "request_inference_time_seconds",
        "request_prompt_tokens",
        "request_prefill_kv_computed_tokens",
        "request_generation_tokens",
        "request_params_n",
    ] {
        assert_eq!(vllm(&format!("{histogram}_count")), 44.0, "{histogram}");
    }
    assert_eq!((vllm("inter_token_latency_seconds_count"), vllm("request_params_n_sum")), (0.0, 44.0));
    assert_eq!(value(&metrics, "vllm:request_success_total", &[("finished_reason", "stop")]), 44.0);

    let (all, computed) = (vllm("prompt_tokens_total"), own("computed_tokens_total"));
    assert_eq!(all, vllm("request_prompt_tokens_sum"));
    assert_eq!(vllm("prefix_cache_queries_total"), all);
    assert_eq!(vllm("request_prefill_kv_computed_tokens_sum"), computed);
    assert_eq!(vllm("iteration_tokens_total_sum"), all);
    assert_eq!(own("saved_tokens_total"), all - computed);
    for (name, source, tokens) in [
        ("prompt_tokens_by_source_total", "local_compute", computed),
        ("prompt_tokens_by_source_total", "local_cache_hit", all - computed),
        ("prompt_tokens_cached_by_source_total", "device", all - computed),
    ] {
        assert_eq!(value(&metrics, &format!("vllm:{name}"), &[("source", source)]), tokens, "{name} {source}");
    }
    assert!(computed < all / 2.0, "{computed} of {all} tokens were computed");
    assert!(own("prefix_cache_tokens_saved_total") > 60.0, "the second round found the first one's system prompt");
    assert_eq!(vllm("kv_cache_usage_perc"), 0.0, "nothing runs");
    let fill = own("prefix_cache_usage_ratio");
    assert!(fill > 0.0 && fill <= 1.0, "{fill}");
    let limit = metrics.keys().find(|(name, _)| name == "vllm:cache_config_info").expect("the description").1.clone();
    let (bytes, tokens) = (&limit["kv_cache_memory_bytes"], &limit["num_gpu_blocks"]);
    assert_eq!(bytes, "1048576");
    let held = fill * tokens.parse::<f64>().expect("a number");
    assert!((held.round() - held).abs() < 1e-6, "{held} tokens are held");
    assert!(own("prefix_cache_bytes") <= 1_048_576.0);

    let (inference, queued) = (vllm("request_inference_time_seconds_sum"), vllm("request_queue_time_seconds_sum"));
    let end_to_end = vllm("e2e_request_latency_seconds_sum");
    assert!(inference > 0.0 && queued > 0.0 && inference + queued < end_to_end, "{inference} {queued} {end_to_end}");
    assert_eq!(vllm("request_prefill_time_seconds_sum"), inference);
    assert!(own("model_seconds_total") > 0.0 && own("model_seconds_total") < end_to_end);
    assert!(own("flop_total") > 2.0 * computed && own("flop_total") == vllm("estimated_flops_per_gpu_total"));
    assert_eq!((vllm("num_requests_running"), vllm("num_requests_waiting"), own("queue_age_seconds")), (0.0, 0.0, 0.0));

    assert_eq!(value(&metrics, "http_request_size_bytes_count", &[("handler", "/score")]), 2.0);
    assert!(value(&metrics, "http_response_size_bytes_sum", &[("handler", "/score")]) > 2.0 * 200.0);
    assert_eq!(value(&metrics, "http_requests_total", &[("handler", "none"), ("status", "4xx")]), 2.0);
    assert_eq!(value(&metrics, "http_request_duration_highr_seconds_count", &[]), 8.0);
    let cumulative = |le: &str| value(&metrics, "vllm:iteration_tokens_total_bucket", &[("le", le)]);
    assert!(cumulative("1.0") <= cumulative("512.0") && cumulative("512.0") <= cumulative("16384.0"));
    assert_eq!(cumulative("+Inf"), vllm("iteration_tokens_total_count"));
    assert!(cumulative("+Inf") >= 4.0);
    let longest = value(&metrics, "vllm:request_prompt_tokens_bucket", &[("le", "500.0")]);
    assert_eq!(longest, 44.0, "no pair here has more than 500 tokens of {MAX_MODEL_LEN}");
}

#[actix_web::test]
async fn a_request_that_comes_again_has_the_same_bytes_and_counts_as_answered_but_not_as_run() {
    let subject = subject_that_keeps_answers();
    let documents: Vec<String> = (0..32).map(|i| format!("Document {i} is about saws. {}", "x ".repeat(i))).collect();
    let ask = async |subject: &Data<State>, documents: &[String]| {
        let service = init_service(app(subject.clone())).await;
        let request = TestRequest::post().uri("/v1/rerank").insert_header(("x-request-id", "again"));
        let body = json!({"query": "saws", "documents": documents, "top_n": 40});
        call_and_read_body(&service, request.set_json(body).to_request()).await
    };
    let reference = ask(&subject_alone(), &documents).await;
    assert_eq!(ask(&subject, &documents[..8]).await, ask(&subject_alone(), &documents[..8]).await);
    let figures = async || {
        let metrics = scrape(&subject).await;
        let vllm = |name: &str| value(&metrics, &format!("vllm:{name}"), &[("engine", "0")]);
        let own = |name: &str| value(&metrics, &format!("ironrank_{name}"), &[]);
        let run = [vllm("prompt_tokens_total"), own("computed_tokens_total"), own("flop_total")];
        let kept = ["hits_total", "misses_total", "bytes"].map(|name| own(&format!("answer_cache_{name}")));
        assert_eq!(own("answer_cache_usage_ratio"), kept[2] / f64::from(1 << 20));
        let answered = value(&metrics, "vllm:request_success_total", &[("finished_reason", "stop")]);
        let computed = vllm("request_prefill_kv_computed_tokens_sum");
        assert_eq!((vllm("request_prompt_tokens_count"), computed), (answered, run[1]));
        (run, kept, answered, vllm("request_prompt_tokens_sum"))
    };
    let (first, kept, answered, _) = figures().await;
    assert_eq!((&kept[..2], answered), (&[0.0, 8.0][..], 8.0));
    assert_eq!(ask(&subject, &documents).await, reference, "8 of 32 are known");
    let (second, kept, answered, tokens) = figures().await;
    assert!(second[0] > first[0] && second[0] < tokens, "{second:?} {tokens}");
    assert_eq!((&kept[..2], answered), (&[8.0, 32.0][..], 40.0));
    for again in 1..3 {
        assert_eq!(ask(&subject, &documents).await, reference);
        let (now, now_kept, answered, _) = figures().await;
        assert_eq!(now, second, "nothing is run");
        assert_eq!(now_kept, [kept[0] + 32.0 * f64::from(again), kept[1], kept[2]]);
        assert_eq!(answered, 40.0 + 32.0 * f64::from(again));
    }
}

#[actix_web::test]
async fn a_full_queue_counts_its_refusals() {
    let subject = subject_that_is_full();
    let rejections = |metrics: &BTreeMap<Series, f64>, reason| {
        value(metrics, "vllm:admission_rejections_total", &[("reason", reason), ("model_name", "tiny")])
    };
    for refused in 1..3 {
        assert_eq!(post(&subject, "/v1/rerank", json!({"query": "q", "documents": ["a", "b"]})).await, 503);
        let metrics = scrape(&subject).await;
        assert_eq!(rejections(&metrics, "max_num_queued_reqs"), f64::from(refused));
        assert_eq!(rejections(&metrics, "max_num_queued_tokens"), 0.0);
        assert_eq!(
            value(&metrics, "vllm:request_success_total", &[("finished_reason", "error")]),
            2.0 * f64::from(refused)
        );
    }
}

/// What dashboards that were made for vLLM read, and whether requests move it here: nothing is generated.
#[actix_web::test]
async fn what_vllms_dashboards_read_is_there_and_moves() {
    let subject = subject_alone();
    requests(&subject, 0).await;
    let before = scrape(&subject).await;
    requests(&subject, 1).await;
    let after = scrape(&subject).await;
    let wanted: Vec<Value> = serde_json::from_str(include_str!("../../fixtures/dashboard-series.json")).expect("JSON");
    for series in &wanted {
        let (name, labels) = (series["name"].as_str().expect("a name"), series["labels"].as_array().expect("labels"));
        let fits = |(found, of): &Series| {
            found == name && labels.iter().all(|label| of.contains_key(label.as_str().unwrap_or_default()))
        };
        let total = |metrics: &BTreeMap<Series, f64>| {
            let found: Vec<f64> = metrics.iter().filter(|(series, _)| fits(series)).map(|(_, value)| *value).collect();
            assert!(!found.is_empty(), "{series} is not there");
            found.iter().sum::<f64>()
        };
        if series["moves"] == json!(true) {
            assert!(total(&after) > total(&before), "{series} has not moved from {}", total(&before));
        } else {
            total(&after);
        }
    }
}

/// The queries of a dashboard, wherever they stand in it.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if key == "expr" || key == "query" && text.contains('(') => {
                        found.push(text.clone())
                    }
                    _ => queries(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        _ => {}
    }
}

/// The names of metrics in a query, each with the labels that its selector asks for, and the labels it groups by.
fn reads(query: &str) -> (Vec<(String, Vec<String>)>, Vec<String>) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let list = |text: &str| -> Vec<String> {
        let label = |part: &str| part.split(['=', '~', '!']).next().unwrap_or_default().trim().to_owned();
        text.split(',').map(label).filter(|label| !label.is_empty()).collect()
    };
    let (mut metrics, mut groups, mut rest) = (Vec::new(), Vec::new(), query);
    while let Some(start) = rest.find(is_word) {
        let word: String = rest[start..].chars().take_while(|&c| is_word(c)).collect();
        rest = &rest[start + word.len()..];
        let inside = |open: char, close: char| rest.trim_start().strip_prefix(open).and_then(|r| r.split_once(close));
        if word == "by" {
            let (labels, after) = inside('(', ')').unwrap_or_else(|| panic!("no labels behind by in {query}"));
            groups.extend(list(labels));
            rest = after;
        } else if ["vllm:", "ironrank_", "http_", "process_"].iter().any(|start| word.starts_with(start)) {
            let selector = inside('{', '}');
            metrics.push((word, selector.map(|(labels, _)| list(labels)).unwrap_or_default()));
            rest = selector.map_or(rest, |(_, after)| after);
        }
    }
    (metrics, groups)
}

/// A server that has measured what it could do at most, where anything can be.
async fn measured() -> Data<State> {
    let subject = subject_alone();
    for _ in 0..1_000 {
        if Isa::best().name() == "portable" || text(&subject).await.contains("ironrank_peak_flop_per_second{") {
            return subject;
        }
        requests(&subject, 0).await;
    }
    panic!("a thousand requests later the peak is not measured");
}

#[actix_web::test]
async fn the_peak_is_measured_after_the_first_work_and_is_no_less_than_what_was_done() {
    let subject = subject_alone();
    let name = "ironrank_peak_flop_per_second";
    assert!(!text(&subject).await.contains(name), "nothing is measured for nobody");
    let metrics = parse(&text(&measured().await).await);
    if Isa::best().name() != "portable" {
        let rate = value(&metrics, "ironrank_flop_total", &[]) / value(&metrics, "ironrank_model_seconds_total", &[]);
        let peak = value(&metrics, name, &[("model_name", "tiny")]);
        assert!(rate > 0.0 && rate < peak, "{rate} of {peak}");
    }
}

#[actix_web::test]
async fn some_metrics_may_be_asked_for_by_name() {
    let subject = subject_alone();
    requests(&subject, 0).await;
    let asked = "/metrics?name%5B%5D=ironrank_flop_total&name[]=vllm%3Aiteration_tokens_total_bucket&name[]=nothing";
    let service = init_service(app(subject.clone())).await;
    let answer = call_and_read_body(&service, TestRequest::get().uri(asked).to_request()).await;
    let some = parse(std::str::from_utf8(&answer).expect("UTF-8"));
    let names: BTreeSet<&str> = some.keys().map(|(name, _)| name.as_str()).collect();
    let tokens = ["bucket", "count", "created", "sum"].map(|what| format!("vllm:iteration_tokens_total_{what}"));
    assert_eq!(names, BTreeSet::from_iter(tokens.iter().map(String::as_str).chain(["ironrank_flop_total"])));
    let all = scrape(&subject).await;
    assert!(some.iter().all(|(series, value)| all[series] == *value), "{some:?}");
}

#[actix_web::test]
async fn the_page_tells_of_our_own_metrics_and_of_no_others() {
    let text = text(&measured().await).await;
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ironrank_")?.split(' ').next());
    let there: BTreeSet<&str> = types.collect();
    let page = include_str!("../../../docs/metrics.md");
    let told: Vec<&str> = page.split("`ironrank_").skip(1).filter_map(|rest| Some(rest.split_once('`')?.0)).collect();
    let names = BTreeSet::from_iter(told.iter().copied());
    assert_eq!(names.len(), told.len(), "docs/metrics.md tells of one twice: {told:?}");
    assert!(there.len() > 10, "{there:?}");
    assert_eq!(names, there, "docs/metrics.md (left) and what is there (right)");
}

#[actix_web::test]
async fn the_dashboard_reads_nothing_that_is_not_there() {
    let subject = subject_alone();
    requests(&subject, 0).await;
    let metrics = scrape(&subject).await;
    let dashboard: Value = serde_json::from_str(include_str!("../../../deploy/grafana-dashboard.json")).expect("JSON");
    let mut all = Vec::new();
    queries(&dashboard, &mut all);
    assert!(all.len() > 30, "{} queries", all.len());
    there(&all, &metrics);
    for query in &all {
        // The variable itself is a list of the jobs that serve rerankers: the others' figures are nowhere.
        let lists_jobs = query == "label_values(ironrank_queue_age_seconds, job)";
        let selects = reads(query).0.iter().all(|(_, labels)| labels.iter().any(|label| label == "job"));
        assert!(selects || lists_jobs, "{query} takes in what other jobs say");
    }
}

#[actix_web::test]
async fn the_alerts_read_nothing_that_is_not_there() {
    let subject = subject_alone();
    requests(&subject, 0).await;
    let metrics = scrape(&subject).await;
    // A query stands behind `expr:`, or indented in the lines behind it.
    let rules = include_str!("../../../deploy/alert-rules.yaml");
    let queries: Vec<String> = rules
        .split("        expr: ")
        .skip(1)
        .map(|rule| rule.split("\n        for:").next().unwrap().split("\n        labels:").next().unwrap().to_owned())
        .collect();
    assert_eq!(queries.len(), rules.matches("- alert: ").count());
    assert!(queries.iter().all(|query| query.contains(r#"{job="ironrank""#)), "{queries:?}");
    let ours: Vec<String> = queries.into_iter().filter(|query| !query.contains("up{")).collect();
    assert!(ours.len() >= 8, "{ours:?}");
    there(&ours, &metrics);
}

/// Every metric of `queries` is there, with the labels that they ask for; `job` and `instance` are Prometheus' own.
fn there(queries: &[String], metrics: &BTreeMap<Series, f64>) {
    for query in queries {
        let (names, groups) = reads(query);
        assert!(!names.is_empty(), "{query} reads nothing");
        for (name, labels) in names {
            let of_ours = |label: &&String| !["job", "instance"].contains(&label.as_str());
            let labels: Vec<&String> = labels.iter().chain(&groups).filter(of_ours).collect();
            let has = |of: &BTreeMap<String, String>| labels.iter().all(|label| of.contains_key(*label));
            let there = metrics.keys().any(|(found, of)| *found == name && has(of));
            assert!(there, "{name} with {labels:?} is not there: {query}");
        }
    }
}
