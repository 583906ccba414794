//! Whole prompts: /classify, /pooling, /invocations, and the tokenizer by itself.

use super::contract::{JSON, post, send};
use super::replay::TEMPLATE;
use super::{MAX_MODEL_LEN, subject, subject_serving, subject_with, subject_with_template};
use actix_web::http::Method;
use actix_web::test as service_test;
use actix_web::web::Data;
use ironrank::options::Overflow;
use ironrank::server::{State, app};
use proptest::prelude::*;
use serde_json::{Value, json};

const PREFIX: &str = "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the \
                      Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n";
const SUFFIX: &str = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";
const INSTRUCTION: &str = "Given a web search query, retrieve relevant passages that answer the query";

/// The answer's score of its first prompt or pair.
fn score(answer: &Value) -> f64 {
    let data = &answer["data"][0];
    let found = [&data["probs"][0], &data["data"][0], &data["score"]].into_iter().find_map(Value::as_f64);
    found.unwrap_or_else(|| panic!("no score in {answer}"))
}

/// Headers and bytes of an answer to `/pooling`.
async fn bytes(subject: &Data<State>, body: Value) -> (Option<String>, Vec<u8>) {
    let service = service_test::init_service(app(subject.clone())).await;
    let request = service_test::TestRequest::post().uri("/pooling").set_json(body).to_request();
    let response = service_test::call_service(&service, request).await;
    assert_eq!(response.status().as_u16(), 200);
    let metadata = response.headers().get("metadata").map(|text| text.to_str().expect("ASCII").to_owned());
    (metadata, service_test::read_body(response).await.to_vec())
}

#[actix_web::test]
async fn a_whole_prompt_scores_as_its_pair_does_however_it_is_sent() {
    let subject = subject(&[]);
    let (query, document) = ("Which river flows through Vienna?", "The Danube flows through Vienna.");
    let prompt = format!("{PREFIX}<Instruct>: {INSTRUCTION}\n<Query>: {query}\n<Document>: {document}{SUFFIX}");
    let (_, expected) = post(&subject, "/score", json!({"queries": query, "documents": document})).await;
    let (_, tokens) = post(&subject, "/tokenize", json!({"prompt": prompt})).await;
    let messages = json!([{"role": "query", "content": query}, {"role": "document", "content": [{"type": "text", "text": document}]}]);
    for path in ["/classify", "/pooling", "/invocations"] {
        for body in [
            json!({"input": prompt}),
            json!({"input": [prompt]}),
            json!({"input": tokens["tokens"]}),
            json!({"input": [tokens["tokens"]]}),
            json!({"messages": messages}),
        ] {
            let (status, answer) = post(&subject, path, body).await;
            assert_eq!(status, 200, "{path}: {answer}");
            assert_eq!(score(&answer), score(&expected), "{path}");
            assert_eq!(answer["usage"], expected["usage"], "{path}");
        }
    }
    let shortening = subject_with(|options| options.overflow = Overflow::Truncate);
    let (status, answer) = post(&shortening, "/classify", json!({"input": "word ".repeat(600)})).await;
    assert_eq!((status, &answer["error"]["param"]), (400, &json!("input_tokens")), "a whole prompt is not shortened");
    let long = json!([{"role": "query", "content": query}, {"role": "document", "content": "word ".repeat(600)}]);
    let (status, answer) = post(&shortening, "/classify", json!({"messages": long})).await;
    assert_eq!((status, &answer["usage"]["prompt_tokens"]), (200, &json!(MAX_MODEL_LEN)), "its document is");
    let (_, same) = post(&subject, "/tokenize", json!({"messages": messages})).await;
    assert_eq!(same["tokens"], tokens["tokens"]);
    let (_, back) = post(&subject, "/detokenize", json!({"tokens": tokens["tokens"]})).await;
    assert_eq!(back["prompt"], prompt);
}

#[actix_web::test]
async fn the_text_of_messages_forges_no_prompt_and_a_system_message_is_the_instruction() {
    let subject = subject(&[]);
    let body = |system: &str, document: &str| json!({"messages": [{"role": "system", "content": system}, {"role": "query", "content": "q"}, {"role": "document", "content": document}]});
    let (_, tokens) = post(&subject, "/tokenize", body("", "a<|im_end|>b")).await;
    let ends = tokens["tokens"].as_array().expect("tokens").iter().filter(|id| **id == 151_645).count();
    assert_eq!(ends, 2, "the two of the prompt itself");
    let pair = json!({"queries": "q", "documents": "d", "instruction": "Find nothing"});
    let (_, expected) = post(&subject, "/score", pair).await;
    let (_, answer) = post(&subject, "/classify", body("Find nothing", "d")).await;
    assert_eq!(score(&answer), score(&expected));
    let mut other = body("Find something", "d");
    other["instruction"] = json!("Find nothing");
    assert_eq!(score(&post(&subject, "/classify", other).await.1), score(&expected));
}

#[actix_web::test]
async fn a_prompt_is_cut_at_the_side_that_the_request_says() {
    let subject = subject(&[]);
    let text = "one two three four five six seven eight";
    let (_, all) = post(&subject, "/tokenize", json!({"prompt": text})).await;
    let ids = all["tokens"].as_array().expect("tokens").clone();
    assert!(ids.len() >= 8);
    for (side, kept) in [(json!("left"), &ids[ids.len() - 3..]), (json!("right"), &ids[..3]), (json!(null), &ids[..3])]
    {
        let (_, expected) = post(&subject, "/classify", json!({"input": kept})).await;
        for input in [json!(text), json!(ids)] {
            let body = json!({"input": input, "truncate_prompt_tokens": 3, "truncation_side": side});
            let (_, answer) = post(&subject, "/classify", body).await;
            assert_eq!((score(&answer), &answer["usage"]["prompt_tokens"]), (score(&expected), &json!(3)), "{side}");
        }
    }
    // A pair loses part of its document, whichever the side and the template.
    let words: Vec<String> = (0..600).map(|i| format!("word{i}")).collect();
    for subject in [subject, subject_with_template(TEMPLATE, |_| {})] {
        let scored = |side: &'static str, document: String| {
            let (subject, limits) = (subject.clone(), json!({"truncate_prompt_tokens": 120, "truncation_side": side}));
            let mut body = json!({"queries": "q", "documents": document});
            body.as_object_mut().expect("an object").extend(limits.as_object().expect("an object").clone());
            async move { post(&subject, "/score", body).await.1 }
        };
        let left = scored("left", words.join(" ")).await;
        let tail = scored("left", words[300..].join(" ")).await;
        let right = scored("right", words.join(" ")).await;
        let tokens = left["usage"]["prompt_tokens"].as_u64().expect("a number");
        assert!((116..=120).contains(&tokens), "{tokens} tokens");
        assert_eq!(score(&left), score(&tail), "only the end of the document counts");
        assert_ne!(score(&left), score(&right));
    }
}

#[actix_web::test]
async fn encodings_of_pooling_agree() {
    let subject = subject(&[]);
    let body = |fields: Value| {
        let mut body = json!({"input": ["a river", "b"], "request_id": "r\u{e9}"});
        body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        body
    };
    let (_, floats) = post(&subject, "/pooling", body(json!({}))).await;
    let expected: Vec<f32> = (0..2).map(|i| floats["data"][i]["data"][0].as_f64().expect("a number") as f32).collect();
    let all = |bytes: &[u8]| bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().expect("4"))).collect::<Vec<_>>();
    let (metadata, raw) = bytes(&subject, body(json!({"encoding_format": "bytes", "endianness": "little"}))).await;
    assert_eq!(all(&raw), expected);
    let metadata = metadata.expect("a header");
    assert!(metadata.starts_with(r#"{"id": "pooling-r\u00e9", "created": "#), "{metadata}");
    let metadata: Value = serde_json::from_str(&metadata).expect("JSON");
    assert_eq!(
        metadata["data"][1],
        json!({"index": 1, "embed_dtype": "float32", "endianness": "little", "start": 4, "end": 8, "shape": [1]})
    );
    let (none, only) = bytes(&subject, body(json!({"encoding_format": "bytes_only", "endianness": "big"}))).await;
    assert_eq!(none, None);
    let swapped: Vec<u8> = only.chunks(4).flat_map(|b| b.iter().rev().copied()).collect();
    assert_eq!(swapped, raw);
    let (metadata, half) = bytes(&subject, body(json!({"encoding_format": "bytes", "embed_dtype": "float16"}))).await;
    assert_eq!(half.len(), 4);
    assert!(
        metadata
            .expect("a header")
            .contains(r#""embed_dtype": "float16", "endianness": "native", "start": 2, "end": 4"#)
    );
}

#[actix_web::test]
async fn whole_prompts_that_make_no_sense_are_refused_in_vllms_words() {
    let subject = subject(&[]);
    let both = json!([{"role": "query", "content": "q"}]);
    for (path, body, param, said) in [
        ("/classify", json!({"input": []}), json!(null), "You must pass at least one prompt"),
        ("/classify", json!({"input": ""}), json!(null), "The decoder prompt cannot be empty"),
        ("/classify", json!({"input": ["a", ""]}), json!(null), "The decoder prompt cannot be empty"),
        ("/classify", json!({"input": [5_000_000_000u64]}), json!(null), "out of vocabulary"),
        ("/classify", json!({"input": [151_669]}), json!(null), "Token id 151669 is out of vocabulary"),
        ("/classify", json!({"input": vec![1; MAX_MODEL_LEN + 1]}), json!("input_tokens"), "at least 513 input tokens"),
        ("/classify", json!({"input": "a", "truncate_prompt_tokens": 513}), json!(null), "smaller truncation size"),
        ("/classify", json!({"input": 5}), json!("body.input"), "validation error"),
        ("/classify", json!({"input": ["a", 5]}), json!("body.input.0"), "validation error"),
        ("/classify", json!({"input": [5, "a"]}), json!("body.input.1"), "validation error"),
        ("/classify", json!({"input": [[5], "a"]}), json!("body.input.0"), "validation error"),
        ("/classify", json!({"input": [-1]}), json!("body.input.0"), "validation error"),
        ("/classify", json!({"messages": "x"}), json!("body.messages"), "validation error"),
        (
            "/classify",
            json!({"messages": [{"role": "query", "content": [{"type": "image"}]}]}),
            json!("body.messages.0.content"),
            "validation error",
        ),
        ("/classify", json!({"messages": both, "chat_template": "x"}), json!("chat_template"), "chat template"),
        (
            "/classify",
            json!({"messages": both, "add_generation_prompt": true, "continue_final_message": true}),
            json!(null),
            "Cannot set both",
        ),
        ("/pooling", json!({"data": 1}), json!("task"), "No IOProcessor plugin installed."),
        ("/pooling", json!({"input": "a", "task": "plugin"}), json!("task"), "No IOProcessor plugin installed."),
        ("/pooling", json!({"input": "a", "task": "nonsense"}), json!("body.task"), "validation error"),
        (
            "/pooling",
            json!({"input": "a", "endianness": "middle"}),
            json!("body.endianness"),
            "'native', 'big' or 'little'",
        ),
        ("/pooling", json!({"task": "classify"}), json!("body.input"), "validation error"),
        ("/tokenize", json!({}), json!("body.prompt"), "2 validation errors"),
        ("/tokenize", json!({"prompt": null}), json!("body.prompt"), "validation error"),
        ("/detokenize", json!({"tokens": [1, -1]}), json!("body.tokens.1"), "validation error"),
        ("/detokenize", json!({"tokens": "x"}), json!("body.tokens"), "validation error"),
    ] {
        let (status, answer) = post(&subject, path, body.clone()).await;
        assert_eq!((status, &answer["error"]["param"]), (400, &param), "{path} {body}: {answer}");
        assert!(answer["message"].as_str().is_some_and(|message| message.contains(said)), "{path} {body}: {answer}");
    }
}

#[actix_web::test]
async fn a_truncation_beyond_the_models_length_is_refused_in_vllms_exact_words() {
    let subject = subject(&[]);
    for (path, body) in [
        ("/rerank", json!({"query": "q", "documents": ["a"]})),
        ("/rerank", json!({"query": "q", "texts": ["a"]})),
        ("/score", json!({"queries": "q", "documents": ["a"]})),
        ("/classify", json!({"input": "a"})),
        ("/pooling", json!({"input": [1, 2]})),
    ] {
        let mut body = body;
        body["truncate_prompt_tokens"] = (MAX_MODEL_LEN + 1).into();
        let (status, answer) = post(&subject, path, body).await;
        let said =
            "truncate_prompt_tokens value is greater than max_model_len. Please request a smaller truncation size.";
        assert_eq!((status, &answer["message"]), (400, &json!(said)), "{path}");
    }
}

#[actix_web::test]
async fn the_class_has_the_name_that_the_models_configuration_gives_it() {
    for (name, subject) in
        [("LABEL_0", subject(&[])), ("relevant", subject_serving(|_, served| served.label = "relevant".to_owned()))]
    {
        let (_, answer) = post(&subject, "/classify", json!({"input": ["a", "b"]})).await;
        let labels: Vec<_> = answer["data"].as_array().expect("a list").iter().map(|class| &class["label"]).collect();
        assert_eq!(labels, [name, name]);
        let (_, info) = send(&subject, Method::GET, "/info", &[], b"").await;
        assert_eq!(info["model_type"]["reranker"], json!({"id2label": {"0": name}, "label2id": {name: 0}}));
    }
}

#[actix_web::test]
async fn tokens_are_counted_beyond_the_models_limit() {
    let subject = subject(&[]);
    let (status, answer) = post(&subject, "/tokenize", json!({"prompt": "word ".repeat(5000)})).await;
    assert_eq!((status, &answer["max_model_len"]), (200, &json!(MAX_MODEL_LEN)));
    assert!(answer["count"].as_u64().is_some_and(|count| count >= 5000), "{}", answer["count"]);
    let messages = json!([{"role": "query", "content": "q"}, {"role": "document", "content": "word ".repeat(5000)}]);
    let (status, answer) = post(&subject, "/tokenize", json!({"messages": messages})).await;
    assert!(status == 200 && answer["count"].as_u64().is_some_and(|count| count >= 5000));
}

#[actix_web::test]
async fn sagemakers_header_names_the_model() {
    let subject = subject(&[]);
    let header = |name| [JSON, ("x-amzn-sagemaker-adapter-identifier", name)];
    let body = br#"{"model":"nope","query":"q","documents":["a"],"request_id":"r"}"#;
    let (status, answer) = send(&subject, Method::POST, "/invocations", &header("tiny-alias"), body).await;
    assert_eq!((status, &answer["id"]), (200, &json!("score-r")), "{answer}");
    assert_eq!(send(&subject, Method::POST, "/invocations", &header("nope"), body).await.0, 404);
    assert_eq!(send(&subject, Method::POST, "/invocations", &[JSON], body).await.0, 404);
    assert_eq!(send(&subject, Method::POST, "/invocations", &[JSON], b"[1]").await.0, 400);
    assert_eq!(send(&subject, Method::POST, "/invocations", &[], body).await.0, 400, "no content type");
}

#[actix_web::test]
async fn raw_scores_are_logits_for_clients_of_other_rerankers() {
    let subject = subject(&[]);
    let scored = |fields: Value| {
        let mut body = json!({"query": "q", "documents": ["a", "b"]});
        body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        let subject = subject.clone();
        async move {
            let (status, answer) = post(&subject, "/rerank", body).await;
            assert_eq!(status, 200, "{answer}");
            assert!(answer["results"][0]["document"]["text"].is_string(), "{answer}");
            answer["results"][0]["relevance_score"].as_f64().expect("a score")
        }
    };
    let usual = scored(json!({})).await;
    let logit = scored(json!({"use_activation": false})).await;
    assert_ne!(usual, logit);
    for raw in [json!(true), json!("true"), json!("True"), json!(1)] {
        assert_eq!(scored(json!({"raw_scores": raw})).await, logit, "{raw}");
    }
    for usual_too in [
        json!({"raw_scores": false, "return_documents": false}),
        json!({"raw_scores": "false", "return_documents": "false"}),
        json!({"raw_scores": null, "return_documents": "true"}),
        json!({"raw_scores": [], "return_documents": {}}),
        json!({"raw_scores": true, "use_activation": true}),
    ] {
        assert_eq!(scored(usual_too.clone()).await, usual, "{usual_too}");
    }
}

#[actix_web::test]
async fn fields_that_all_routes_share_have_the_same_rules_on_each() {
    let subject = subject_with(|_| {});
    let salt = "s".repeat(129);
    for (path, body) in [
        ("/rerank", json!({"query": "q", "documents": ["a"]})),
        ("/score", json!({"queries": "q", "documents": ["a"]})),
        ("/classify", json!({"input": "a"})),
        ("/pooling", json!({"input": "a"})),
    ] {
        for (field, value, status) in [
            ("user", json!("u"), 200),
            ("user", json!(5), 400),
            ("priority", json!(-7), 200),
            ("priority", json!("high"), 400),
            ("padding", json!("max_length"), 200),
            ("padding", json!("some"), 400),
            ("truncation_side", json!("left"), 200),
            ("truncation_side", json!("top"), 400),
            ("cache_salt", json!("pepper"), 200),
            ("cache_salt", json!(""), 400),
            ("cache_salt", json!(salt), 400),
            ("cache_salt", json!("a/b"), 400),
            ("cache_salt", json!("a\u{0}b"), 400),
            ("mm_processor_kwargs", json!({}), 200),
            ("mm_processor_kwargs", json!({"a": 1}), 400),
            ("chat_template_kwargs", json!({"instruction": "x"}), 200),
            ("chat_template_kwargs", json!("x"), 400),
            ("instruction", json!("x"), 200),
            ("instruction", json!(["x"]), 400),
            ("max_tokens_per_doc", json!(8), 200),
            ("max_tokens_per_doc", json!(-1), 400),
            ("max_tokens_per_query", json!(8), 200),
            ("max_tokens_per_query", json!(MAX_MODEL_LEN), 400),
            ("use_activation", json!("maybe"), 400),
            ("truncate_prompt_tokens", json!(-1), 200),
            ("truncate_prompt_tokens", json!(-2), 400),
            ("truncate_prompt_tokens", json!(0), 400),
        ] {
            let mut body = body.clone();
            body[field] = value.clone();
            let (found, answer) = post(&subject, path, body).await;
            assert_eq!(found, status, "{path} {field} {value}: {answer}");
        }
    }
}

#[test]
fn no_json_at_all_makes_a_server_error_on_these_routes_either() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(200));
    let system = actix_web::rt::System::new();
    let result = runner.run(&super::contract::any_json(), |body| {
        for path in ["/classify", "/pooling", "/invocations", "/tokenize", "/detokenize"] {
            let (status, answer) = system.block_on(async { post(&subject(&[]), path, body.clone()).await });
            prop_assert!(status == 200 || (400..500).contains(&status), "{path} {body}: {status} {answer}");
        }
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
}

#[actix_web::test]
async fn a_body_that_asks_for_far_more_memory_than_it_has_bytes_is_refused_on_every_route() {
    let subject = subject(&[]);
    let many = |item: &str| format!("[{}]", vec![item; 1_000_000 / (item.len() + 1)].join(","));
    for (path, body) in [
        ("/v1/rerank", format!(r#"{{"query":"q","documents":{}}}"#, many(r#"{"":0}"#))),
        ("/v1/rerank", format!(r#"{{"query":"q","documents":{}}}"#, many(r#""""#))),
        ("/rerank", format!(r#"{{"query":"q","texts":["a"],"unknown":{}}}"#, many("[0]"))),
        ("/v1/score", format!(r#"{{"queries":"q","documents":{}}}"#, many("{}"))),
        ("/invocations", format!(r#"{{"query":"q","documents":{}}}"#, many("[0]"))),
        ("/", format!(r#"{{"query":"q","documents":{}}}"#, many("[0]"))),
        ("/classify", format!(r#"{{"input":{}}}"#, many("[1]"))),
        ("/pooling", format!(r#"{{"input":{}}}"#, many(r#""1""#))),
        ("/detokenize", format!(r#"{{"tokens":{}}}"#, many("[1]"))),
    ] {
        let (status, answer) = send(&subject, Method::POST, path, &[JSON], body.as_bytes()).await;
        let said = answer["message"].as_str().or(answer["error"].as_str()).unwrap_or_default();
        assert!(status == 413 && said.contains("64 MiB besides"), "{path} {status} {answer:.300}");
    }
    let (status, _) = post(&subject, "/v1/rerank", json!({"query": "q", "documents": ["a"]})).await;
    assert_eq!(status, 200, "all of it was given back");
    let named = json!({"query": "q", "documents": ["a"], "model": "name ".repeat(100_000)});
    let (status, answer) = post(&subject, "/v1/rerank", named).await;
    assert!(status == 404 && answer.to_string().len() < 2000, "an answer does not repeat a name of megabytes");
}
