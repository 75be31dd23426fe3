//! Validation of requests and responses against the published schemas.

use std::collections::HashMap;

use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Value, json};

const DOCUMENT: &str = include_str!("../openapi/cloud.json");

/// The compiled schemas.
#[derive(Debug)]
pub struct Schemas {
    operations: Value,
    validators: HashMap<String, Validator>,
}

impl Default for Schemas {
    fn default() -> Self {
        Self::new()
    }
}

impl Schemas {
    /// Compiles the schemas in `openapi/`.
    pub fn new() -> Self {
        let document: Value = serde_json::from_str(DOCUMENT).expect("the schemas are JSON");
        let definitions = document["$defs"].as_object().expect("an object");
        let validator = |name: &String| {
            let schema = json!({ "$ref": format!("#/$defs/{name}"), "$defs": document["$defs"] });
            (name.clone(), jsonschema::validator_for(&schema).expect("a schema"))
        };
        let wanted = |name: &&String| {
            name.ends_with("_response") || name.ends_with("_request") || name.starts_with("POST_")
        };
        Self {
            validators: definitions.keys().filter(wanted).map(validator).collect(),
            operations: document["operations"].clone(),
        }
    }

    /// Whether the schemas have an operation, such as `GET /servers`.
    pub fn knows(&self, operation: &str) -> bool {
        self.operations.get(operation).is_some()
    }

    /// Validates a request body. The error is the invalid field and a message.
    pub fn check_request(&self, operation: &str, body: &Value) -> Result<(), (String, String)> {
        let Some(name) = self.operations[operation]["request"].as_str() else { return Ok(()) };
        let Some(error) = self.validators[name].iter_errors(body).next() else { return Ok(()) };
        let field = error.instance_path().to_string();
        let words = match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                format!("unknown field name '{}'", unexpected.join("', '"))
            }
            _ => error.to_string(),
        };
        Err((field.trim_start_matches('/').to_owned(), words))
    }

    /// Validates a response body. The error is a message.
    pub fn check_answer(&self, operation: &str, status: u16, body: &Value) -> Result<(), String> {
        let name = match &self.operations[operation][status.to_string()] {
            _ if status >= 400 => "error_response",
            Value::String(name) => name.as_str(),
            Value::Null if body.is_null() => return Ok(()),
            _ => return Err(format!("{operation} has no response {status} with a body")),
        };
        match self.validators[name].iter_errors(body).next() {
            Some(error) => {
                Err(format!("{operation} {status}: {error} at {}", error.instance_path()))
            }
            None => Ok(()),
        }
    }
}
