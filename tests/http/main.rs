//! The HTTP contract, in process through the server's own application builder.
//!
//! [`subject`] is the one place that says what is under test: today an engine without a model, so that token counts
//! and scores are not compared; with a model, [`Subject::exact`] turns those comparisons on.

mod contract;
mod replay;

use actix_web::web::Data;
use ironrank::engine::Engine;
use ironrank::prompt::PromptEncoder;
use ironrank::server::{Settings, State};

/// Longest prompt of the server that was recorded.
const MAX_MODEL_LEN: usize = 512;

/// A server under test.
pub struct Subject {
    /// State for `ironrank::server::app`.
    pub state: Data<State>,
    /// Whether it tokenises and scores with the recorded model.
    pub exact: bool,
}

/// The server as it was recorded, with these API keys.
pub fn subject(api_keys: &[&str]) -> Subject {
    subject_with(|settings| settings.api_keys = api_keys.iter().map(|key| (*key).to_owned()).collect())
}

/// The server as it was recorded, with other settings.
pub fn subject_with(change: impl FnOnce(&mut Settings)) -> Subject {
    let mut settings = Settings {
        served_model_names: vec!["tiny".to_owned(), "tiny-alias".to_owned()],
        root: "/models/tiny".to_owned(),
        max_model_len: MAX_MODEL_LEN,
        api_keys: Vec::new(),
        skip_model_name_validation: false,
        max_body_bytes: 1 << 20,
    };
    change(&mut settings);
    let encoder = PromptEncoder::builtin(settings.max_model_len).expect("the tokenizer opens");
    let state = State::new(settings, Engine {}, encoder).expect("the metrics can be set up");
    Subject { state: Data::new(state), exact: false }
}
