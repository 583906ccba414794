//! The rules that tie a request's fields to the server's settings and the model, in vLLM's words.

use crate::options::Overflow;
use crate::prompt::PromptOptions;
use crate::server::http::error::ApiError;
use crate::server::models::Model;
use crate::server::state::State;
use crate::server::wire::pairs::Common;

/// How the prompts of a request are made; an error if it breaks a rule.
pub fn prompt_options(state: &State, model: &Model, common: &Common) -> Result<PromptOptions, ApiError> {
    if common.has_mm_processor_kwargs {
        let sentence = model.served.refuses_mm_processor_kwargs();
        return Err(ApiError::invalid(sentence).with_param("mm_processor_kwargs"));
    }
    let limit = model.served.max_model_len;
    let max_tokens_per_query = text_limit("max_tokens_per_query", common.max_tokens_per_query, limit)?;
    let max_tokens_per_doc = text_limit("max_tokens_per_doc", common.max_tokens_per_doc, limit)?;
    if !common.reserved_kwargs.is_empty() {
        let keys = common.reserved_kwargs.iter().map(|key| format!("'{key}'")).collect::<Vec<_>>().join(", ");
        return Err(ApiError::invalid(format!(
            "chat_template_kwargs contains reserved keys that conflict with fixed scorer arguments: {{{keys}}}"
        )));
    }
    let truncate_prompt_tokens = match common.truncate_prompt_tokens {
        None => None,
        Some(0) => return Err(ApiError::invalid("The decoder prompt cannot be empty")),
        Some(tokens) => match usize::try_from(tokens) {
            Ok(tokens) if tokens > limit => {
                return Err(ApiError::invalid(
                    "truncate_prompt_tokens value is greater than max_model_len. Please request a smaller truncation \
                     size.",
                ));
            }
            Ok(tokens) => Some(tokens),
            Err(_) => Some(limit),
        },
    };
    Ok(PromptOptions {
        instruction: common.instruction.clone(),
        template_kwargs: common.template_kwargs.clone(),
        shorten: state.options.overflow == Overflow::Truncate,
        truncate_prompt_tokens,
        truncation_side: common.truncation_side,
        max_tokens_per_doc,
        max_tokens_per_query,
    })
}

/// The salt has no effect, for what requests share changes no score; vLLM's rules for it hold all the same.
pub fn check_cache_salt(salt: Option<&str>) -> Result<(), ApiError> {
    const MAX_CHARS: usize = 128;
    let sentence = match salt {
        Some("") => "Parameter 'cache_salt' must be a non-empty string if provided. (parameter=cache_salt)".to_owned(),
        Some(salt) if salt.chars().count() > MAX_CHARS => {
            format!("Parameter 'cache_salt' must have at most {MAX_CHARS} characters. (parameter=cache_salt)")
        }
        Some(salt) if salt.contains(['@', '/', '\\', '\0']) => {
            "Parameter 'cache_salt' must not contain '@', '/', '\\' or NUL. (parameter=cache_salt)".to_owned()
        }
        _ => return Ok(()),
    };
    Err(ApiError::invalid(sentence).with_param("cache_salt"))
}

fn text_limit(name: &str, value: i64, max_model_len: usize) -> Result<usize, ApiError> {
    match usize::try_from(value) {
        Err(_) => Err(ApiError::invalid(format!("{name} must be a non-negative integer"))),
        Ok(tokens) if tokens >= max_model_len => {
            Err(ApiError::invalid(format!("{name} ({tokens}) must be less than max_model_len ({max_model_len}).")))
        }
        Ok(tokens) => Ok(tokens),
    }
}
