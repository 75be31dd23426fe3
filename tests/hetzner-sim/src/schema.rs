//! Validation of requests and responses against the published schemas.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Value, json};

const DOCUMENT: &str = include_str!("../openapi/cloud.json");

/// The schemas. Each is compiled when it is first needed, once for all simulators of a process.
#[derive(Debug)]
pub struct Schemas {
    document: Value,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

/// The schemas in `openapi/`.
pub static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| Schemas {
    document: serde_json::from_str(DOCUMENT).expect("the schemas are JSON"),
    validators: Mutex::default(),
});

impl Schemas {
    fn validator(&self, name: &str) -> Arc<Validator> {
        let mut validators = self.validators.lock().expect("a schema that compiles");
        if let Some(validator) = validators.get(name) {
            return validator.clone();
        }
        let definitions = &self.document["$defs"];
        assert!(definitions.get(name).is_some(), "no schema {name}");
        let schema = json!({ "$ref": format!("#/$defs/{name}"), "$defs": definitions });
        let validator = Arc::new(jsonschema::validator_for(&schema).expect("a schema"));
        validators.insert(name.to_owned(), validator.clone());
        validator
    }

    fn operation(&self, operation: &str) -> &Value {
        &self.document["operations"][operation]
    }

    /// Whether the schemas have an operation, such as `GET /servers`.
    pub fn knows(&self, operation: &str) -> bool {
        !self.operation(operation).is_null()
    }

    /// Validates a request body. The error is the invalid field and a message.
    pub fn check_request(&self, operation: &str, body: &Value) -> Result<(), (String, String)> {
        let Some(name) = self.operation(operation)["request"].as_str() else { return Ok(()) };
        let validator = self.validator(name);
        let Some(error) = validator.iter_errors(body).next() else { return Ok(()) };
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
        let name = match &self.operation(operation)[status.to_string()] {
            _ if status >= 400 => "error_response",
            Value::String(name) => name.as_str(),
            Value::Null if body.is_null() => return Ok(()),
            _ => return Err(format!("{operation} has no response {status} with a body")),
        };
        let validator = self.validator(name);
        match validator.iter_errors(body).next() {
            Some(error) => {
                Err(format!("{operation} {status}: {error} at {}", error.instance_path()))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_of_an_operation_compiles() {
        let operations = SCHEMAS.document["operations"].as_object().unwrap();
        let names = operations.values().flat_map(|one| one.as_object().unwrap().values());
        for name in names.filter_map(Value::as_str) {
            SCHEMAS.validator(name);
        }
    }
}
