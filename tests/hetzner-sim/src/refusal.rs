//! Error responses of the API.

use serde_json::{Value, json};

/// An error response.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The error code.
    pub code: String,
    /// The message for the user.
    pub message: String,
    /// The value of `error.details`.
    pub details: Value,
}

impl Refusal {
    /// Makes an error response with a code of the official table and its HTTP status.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        let status = match code {
            "json_error" => 400,
            "unauthorized" | "token_readonly" => 401,
            "forbidden" | "resource_limit_exceeded" => 403,
            "not_found" | "firewall_resource_not_found" => 404,
            "method_not_allowed" => 405,
            "uniqueness_error" | "conflict" => 409,
            "deprecated_api_endpoint" => 410,
            "resource_unavailable" | "primary_ip_version_mismatch" => 412,
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

    /// The resource does not exist.
    pub fn not_found(kind: &str) -> Self {
        Self::new("not_found", format!("{kind} not found"))
    }

    /// A field of the request is invalid.
    pub fn invalid(field: &str, message: &str) -> Self {
        let mut refusal = Self::new("invalid_input", format!("invalid input in field '{field}'"));
        refusal.details = json!({ "fields": [{ "name": field, "messages": [message] }] });
        refusal
    }

    /// The account has a quota.
    pub fn limit(limit: &str) -> Self {
        let mut refusal = Self::new("resource_limit_exceeded", format!("{limit} exceeded"));
        refusal.details = json!({ "limits": [{ "name": limit }] });
        refusal
    }

    /// Another resource has the name.
    pub fn taken(message: &str) -> Self {
        let mut refusal = Self::new("uniqueness_error", message);
        refusal.details = json!({});
        refusal
    }

    /// An action on the resource is in progress.
    pub fn locked(kind: &str) -> Self {
        Self::new("locked", format!("cannot perform operation because {kind} is locked"))
    }

    /// The body of the response.
    pub fn body(&self) -> Value {
        json!({ "error": { "code": self.code, "message": self.message, "details": self.details } })
    }
}
