//! The API's refusals: status, code, words.

use serde_json::{Value, json};

/// A refusal.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The code.
    pub code: String,
    /// For people.
    pub message: String,
    /// `error.details`.
    pub details: Value,
}

impl Refusal {
    /// With a code of the official error table, whose HTTP status is known.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        let status = match code {
            "json_error" => 400,
            "unauthorized" | "token_readonly" => 401,
            "forbidden" | "resource_limit_exceeded" => 403,
            "not_found" => 404,
            "method_not_allowed" => 405,
            "uniqueness_error" | "conflict" => 409,
            "deprecated_api_endpoint" => 410,
            "resource_unavailable" => 412,
            "locked" | "protected" => 423,
            "rate_limit_exceeded" => 429,
            "server_error" => 500,
            "bad_gateway" => 502,
            "unavailable" => 503,
            "timeout" => 504,
            _ => 422,
        };
        Self { status, code: code.into(), message: message.into(), details: Value::Null }
    }

    /// There is no such thing.
    pub fn not_found(kind: &str) -> Self {
        Self::new("not_found", format!("{kind} not found"))
    }

    /// A field is wrong.
    pub fn invalid(field: &str, message: &str) -> Self {
        let mut refusal = Self::new("invalid_input", format!("invalid input in field '{field}'"));
        refusal.details = json!({ "fields": [{ "name": field, "messages": [message] }] });
        refusal
    }

    /// The name is taken.
    pub fn taken(message: &str) -> Self {
        let mut refusal = Self::new("uniqueness_error", message);
        refusal.details = json!({});
        refusal
    }

    /// An action is under way.
    pub fn locked(kind: &str) -> Self {
        Self::new("locked", format!("cannot perform operation because {kind} is locked"))
    }

    /// As a body.
    pub fn body(&self) -> Value {
        json!({ "error": { "code": self.code, "message": self.message, "details": self.details } })
    }
}
