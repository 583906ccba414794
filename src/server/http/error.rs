//! What goes wrong in a request, and the only table that maps it to a status and a body.
//!
//! Every error body is JSON and carries its sentence three times, because clients look in three places: vLLM's and
//! OpenAI's in `error.message` (TEI's in `error`), RAGFlow's Go code in `message`, FastAPI's descendants in `detail`.

use crate::error::{Error, ErrorKind};
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, RETRY_AFTER};
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::Serialize;
use std::borrow::Cow;
use utoipa::ToSchema;

/// Why a request is refused: by the HTTP side, or by the rest of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The body or one of its fields is not what the API describes.
    Malformed,
    /// A key is configured, and the request has none or another.
    Unauthorized,
    /// No resource has this path.
    NoRoute,
    /// The resource has other methods.
    Method,
    /// The body exceeds the limit.
    TooLarge,
    /// The body does not come within its time.
    TooSlow,
    /// The model that is asked for has no answer to such a request.
    Unsupported,
    /// The same, as TEI says it.
    OtherModel,
    /// There is no text, or one that is empty, which TEI tells apart from other mistakes.
    NoText,
    /// An error of the program, by its kind.
    Kind(ErrorKind),
}

/// One for each status of each form; the description of the API is made from them.
pub const EVERY: [Refusal; 9] = [
    Refusal::Malformed,
    Refusal::Unauthorized,
    Refusal::NoRoute,
    Refusal::Method,
    Refusal::TooSlow,
    Refusal::TooLarge,
    Refusal::Unsupported,
    Refusal::Kind(ErrorKind::Internal),
    Refusal::Kind(ErrorKind::Busy),
];

/// A row of the table.
pub struct Row {
    /// What the answer has.
    pub status: StatusCode,
    /// `error.type`, as vLLM names it.
    kind: &'static str,
    /// What the status says, for the description of the API.
    pub what: &'static str,
}

/// The row of a refusal to a client that reads errors in a form: its status, and the words that go with it.
pub fn row(refusal: Refusal, form: ErrorForm) -> Row {
    let rule = "The request breaks a rule; the sentence names it";
    let nothing = "There is no such model or route";
    let (status, kind, what) = match refusal {
        Refusal::Malformed | Refusal::Kind(ErrorKind::InvalidRequest | ErrorKind::TooLong)
            if form == ErrorForm::Tei =>
        {
            (StatusCode::UNPROCESSABLE_ENTITY, "Unprocessable Entity", rule)
        }
        Refusal::NoText => (StatusCode::BAD_REQUEST, "BadRequestError", rule),
        Refusal::Malformed => (StatusCode::BAD_REQUEST, "Bad Request", rule),
        Refusal::Unauthorized => {
            (StatusCode::UNAUTHORIZED, "Unauthorized", "A key is needed, and there is none or another")
        }
        Refusal::NoRoute => (StatusCode::NOT_FOUND, "NotFoundError", nothing),
        Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed", "The route has other methods"),
        Refusal::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large", "The body exceeds the limit"),
        Refusal::TooSlow => (StatusCode::REQUEST_TIMEOUT, "Request Timeout", "The body does not come within its time"),
        Refusal::Unsupported => {
            (StatusCode::NOT_IMPLEMENTED, "NotImplementedError", "The model has no answer to such a request")
        }
        Refusal::OtherModel => {
            (StatusCode::FAILED_DEPENDENCY, "FailedDependencyError", "The model has no answer to such a request")
        }
        Refusal::Kind(kind) => match kind {
            ErrorKind::InvalidRequest | ErrorKind::TooLong => (StatusCode::BAD_REQUEST, "BadRequestError", rule),
            ErrorKind::UnknownModel => (StatusCode::NOT_FOUND, "NotFoundError", nothing),
            ErrorKind::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Service Unavailable",
                "The server is full, stopping or has failed; Retry-After says when to come back",
            ),
            // No request meets the operator's errors.
            ErrorKind::Options | ErrorKind::Checkpoint | ErrorKind::Machine | ErrorKind::Internal => {
                (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", "A fault of the server")
            }
        },
    };
    Row { status, kind, what }
}

/// A refused request.
#[derive(Debug, Clone)]
pub struct ApiError {
    refusal: Refusal,
    message: Cow<'static, str>,
    param: Option<String>,
    detail: Option<&'static str>,
    /// The methods that there are.
    allow: String,
    form: ErrorForm,
}

/// Where a client looks for the sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorForm {
    /// vLLM's: `error` is an object.
    Object,
    /// TEI's and Ollama's: `error` is the sentence, beside an `error_type`.
    Texts,
    /// The same with TEI's statuses, for requests that only TEI's clients send.
    Tei,
}

impl ApiError {
    /// A refusal in a sentence.
    pub fn new(refusal: Refusal, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            refusal,
            message: message.into(),
            param: None,
            detail: None,
            allow: String::new(),
            form: ErrorForm::Object,
        }
    }

    /// A request that breaks a rule of the API (vLLM's `BadRequestError`).
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Refusal::Kind(ErrorKind::InvalidRequest), message)
    }

    /// Names the parameter at fault.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Adds a sentence behind the first.
    #[must_use]
    pub fn and(mut self, sentence: &str) -> Self {
        let message = self.message.to_mut();
        message.push(' ');
        message.push_str(sentence);
        self
    }

    /// Puts another text than the sentence into `detail`, where FastAPI's descendants have one of their own.
    #[must_use]
    pub fn with_detail(mut self, detail: &'static str) -> Self {
        self.detail = Some(detail);
        self
    }

    /// Names the methods that there are, for the `Allow` header.
    #[must_use]
    pub fn allowing(mut self, methods: String) -> Self {
        self.allow = methods;
        self
    }

    /// Puts the sentence where clients of this form look for it.
    #[must_use]
    pub fn in_form(mut self, form: ErrorForm) -> Self {
        self.form = form;
        self
    }

    /// Why the request is refused.
    pub fn refusal(&self) -> Refusal {
        self.refusal
    }

    /// Whether the request is refused for what it takes, whatever it says.
    pub fn is_about_memory(&self) -> bool {
        matches!(self.refusal, Refusal::TooLarge | Refusal::Kind(ErrorKind::Busy))
    }

    /// The sentence that says what is wrong, and with which value.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What the log may say of it: the sentence only where nothing in it can come from a body or a header.
    pub fn reason(&self) -> Cow<'_, str> {
        match (&self.message, self.refusal) {
            (Cow::Borrowed(fixed), _) => Cow::Borrowed(fixed),
            // Figures, and names of our own.
            (
                sentence,
                Refusal::Unauthorized
                | Refusal::TooLarge
                | Refusal::TooSlow
                | Refusal::Kind(ErrorKind::TooLong | ErrorKind::Busy | ErrorKind::Internal),
            ) => Cow::Borrowed(sentence),
            (_, refusal) => match (row(refusal, self.form).kind, &self.param) {
                (kind, Some(param)) => format!("{kind} ({param})").into(),
                (kind, None) => kind.into(),
            },
        }
    }

    /// The answer to send.
    pub fn response(&self) -> HttpResponse {
        let Row { status, kind, .. } = row(self.refusal, self.form);
        match status {
            // Busy or stopping. A fault that ends the engine is logged where it happens.
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::NOT_IMPLEMENTED => {}
            status if status.is_server_error() => tracing::error!("{status}: {}", self.message),
            _ => {}
        }
        let mut response = HttpResponseBuilder::new(status);
        match self.refusal {
            Refusal::Method => {
                response.insert_header((ALLOW, self.allow.as_str()));
            }
            Refusal::Kind(ErrorKind::Busy) => {
                response.insert_header((RETRY_AFTER, "1"));
            }
            _ => {}
        }
        let message: &str = &self.message;
        let detail = self.detail.unwrap_or(message);
        if self.refusal == Refusal::Unauthorized {
            // vLLM's middleware answers with a string here, not with an object.
            return response.json(UnauthorizedBody { error: kind, message, detail });
        }
        if self.form != ErrorForm::Object {
            let error_type = match status {
                _ if self.refusal == Refusal::NoText => "Empty",
                StatusCode::SERVICE_UNAVAILABLE => "Overloaded",
                StatusCode::FAILED_DEPENDENCY => "Backend",
                status if status.is_server_error() => "Backend",
                _ => "Validation",
            };
            return response.json(TextsErrorBody { error: message, error_type, message, detail });
        }
        let error = ErrorInfo { message, r#type: kind, param: self.param.as_deref(), code: status.as_u16() };
        response.json(ErrorBody { error, message, detail })
    }
}

impl From<Error> for ApiError {
    fn from(err: Error) -> Self {
        let param = match (err.param(), err.kind()) {
            (Some(param), _) => Some(param.to_owned()),
            (None, ErrorKind::TooLong) => Some("input_tokens".to_owned()),
            (None, _) => None,
        };
        Self {
            refusal: Refusal::Kind(err.kind()),
            message: err.to_string().into(),
            param,
            detail: None,
            allow: String::new(),
            form: ErrorForm::Object,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(examples(json!({
    "error": {
        "message": "At least one text_pair element must be given", "type": "BadRequestError", "param": null, "code": 400
    },
    "message": "At least one text_pair element must be given",
    "detail": "At least one text_pair element must be given"
})))]
pub struct ErrorBody<'a> {
    error: ErrorInfo<'a>,
    message: &'a str,
    detail: &'a str,
}

#[derive(Serialize, ToSchema)]
pub struct TextsErrorBody<'a> {
    error: &'a str,
    error_type: &'static str,
    message: &'a str,
    detail: &'a str,
}

#[derive(Serialize, ToSchema)]
pub struct ErrorInfo<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: u16,
}

#[derive(Serialize, ToSchema)]
pub struct UnauthorizedBody<'a> {
    error: &'a str,
    message: &'a str,
    detail: &'a str,
}
