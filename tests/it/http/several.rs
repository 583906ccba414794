//! Several models in one server: each by its names, the first where none is named, and each counted by itself.

use super::contract::{post, send};
use super::{MAX_MODEL_LEN, engine, failing, model_called};
use actix_web::http::Method;
use actix_web::web::Data;
use ironrank::engine::QueueLimits;
use ironrank::options::ServerOptions;
use ironrank::server::{State, distinct};
use serde_json::{Value, json};

/// A server of two models, the second of which takes shorter prompts.
fn subject() -> Data<State> {
    let [first, second] = [&["first", "also/first"][..], &["second"]].map(|names| {
        model_called(names, engine(QueueLimits::default()), |served| {
            served.max_model_len = if names.len() == 1 { 256 } else { MAX_MODEL_LEN };
            served.root = format!("/models/{}", names[0]);
        })
    });
    Data::new(State::new(ServerOptions::default(), vec![first, second]).expect("threads"))
}

#[actix_web::test]
async fn a_request_is_for_the_model_that_it_names_or_for_the_first() {
    let subject = subject();
    for (name, model, limit) in [
        (json!(null), "first", MAX_MODEL_LEN),
        (json!(""), "first", MAX_MODEL_LEN),
        (json!("also/first"), "first", MAX_MODEL_LEN),
        (json!("second"), "second", 256),
        (json!("x/second___VLLM"), "second", 256),
    ] {
        let (status, answer) =
            post(&subject, "/v1/rerank", json!({"model": name, "query": "q", "documents": ["a", "b"]})).await;
        assert_eq!((status, &answer["model"]), (200, &json!(model)), "{name}: {answer}");
        let (_, answer) = post(&subject, "/v1/score", json!({"model": name, "text_1": "q", "text_2": "a"})).await;
        assert_eq!(answer["model"], model, "{name}: {answer}");
        let (_, tokens) = post(&subject, "/tokenize", json!({"model": name, "prompt": "a"})).await;
        assert_eq!(tokens["max_model_len"], limit, "{name}: {tokens}");
        let long = json!({"model": name, "query": "q", "documents": ["a"], "max_tokens_per_doc": 300});
        assert_eq!(post(&subject, "/v1/rerank", long).await.0 == 200, limit > 300, "{name}");
    }
    let (status, answer) =
        post(&subject, "/v1/rerank", json!({"model": "third", "query": "q", "documents": ["a"]})).await;
    let said = answer["error"]["message"].as_str().expect("a message");
    assert_eq!(status, 404);
    assert!(said.ends_with("Valid aliases: first, also/first, second."), "{said}");
}

#[actix_web::test]
async fn each_name_has_a_card_and_each_model_its_metrics() {
    let subject = subject();
    let get = async |path: &str| send(&subject, Method::GET, path, &[], b"").await;
    let (_, models): (_, Value) = get("/v1/models").await;
    let cards: Vec<(&Value, &Value)> =
        models["data"].as_array().expect("cards").iter().map(|card| (&card["id"], &card["root"])).collect();
    let expected = [("first", "first"), ("also/first", "first"), ("second", "second")];
    assert_eq!(
        cards,
        expected.map(|(id, root)| (json!(id), json!(format!("/models/{root}")))).each_ref().map(|(a, b)| (a, b))
    );
    let (status, card) = get("/v1/models/second").await;
    assert_eq!((status, &card["max_model_len"]), (200, &json!(256)));
    post(&subject, "/v1/rerank", json!({"model": "second", "query": "q", "documents": ["a", "b"]})).await;
    let text = super::metrics::text(&subject).await;
    for line in [
        r#"vllm:request_success_total{engine="0",finished_reason="stop",model_name="first"} 0"#,
        r#"vllm:request_success_total{engine="1",finished_reason="stop",model_name="second"} 2"#,
        r#"vllm:request_params_n_count{engine="1",model_name="second"} 2"#,
        r#"ironrank_request_pairs_count{model_name="second"} 1"#,
        r#"ironrank_truncated_prompts_total{model_name="first"} 0"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    for family in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        assert_eq!(text.matches(&format!("{family}\n")).count(), 1, "{family}");
    }
    let series: Vec<&str> = text.lines().filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series).collect();
    assert_eq!(std::collections::BTreeSet::from_iter(&series).len(), series.len(), "a series is there twice");
}

#[actix_web::test]
async fn a_server_is_well_while_all_its_models_are() {
    let well = model_called(&["well"], engine(QueueLimits::default()), |_| {});
    let ill = model_called(&["ill"], failing::engine(), |_| {});
    let subject = Data::new(State::new(ServerOptions::default(), vec![well, ill]).expect("threads"));
    let health = async || send(&subject, Method::GET, "/health", &[], b"").await.0;
    assert_eq!(health().await, 200);
    let ask =
        async |model: &str| post(&subject, "/score", json!({"model": model, "text_1": "q", "text_2": "a"})).await.0;
    assert_eq!((ask("well").await, ask("ill").await, health().await), (200, 500, 503));
}

#[test]
fn names_that_mean_the_same_are_refused() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let [a, b, c] = [names(&["/models/a", "a"]), names(&["b"]), names(&["org/a"])];
    distinct(&[&a, &b]).expect("they differ");
    let said = distinct(&[&a, &b, &c]).expect_err("refused").to_string();
    assert!(said.starts_with("Two models are called /models/a and org/a"), "{said}");
}
