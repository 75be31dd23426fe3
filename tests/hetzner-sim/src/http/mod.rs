//! HTTP requests: authorisation, faults, validation, execution and response.

mod list;
mod perform;
mod post;
mod route;

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use serde_json::Value;

use crate::clock::http_date;
use crate::control;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::scenario::{Access, FaultKind};
use crate::schema::SCHEMAS;
use crate::simulator::{Shared, lock};
use route::Route;

/// Largest request body in bytes.
const BODY_BYTES_MAX: usize = 1 << 20;

/// The connection is closed without a response.
#[derive(Debug, thiserror::Error)]
#[error("closed on purpose")]
pub struct Closed;

/// The result of a request: status and body, where null is an empty body.
pub(crate) type Answered = Result<(u16, Value), Refusal>;

/// A received request.
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) token: Option<String>,
    pub(crate) body: Bytes,
}

/// Serves one request.
pub async fn serve(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Closed> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
    if body.len() > BODY_BYTES_MAX {
        return Err(Closed);
    }
    let authorization = parts.headers.get("authorization").and_then(|value| value.to_str().ok());
    let asked = Asked {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        token: authorization.and_then(|text| text.strip_prefix("Bearer ")).map(str::to_owned),
        body,
    };
    if let Some(path) = asked.path.strip_prefix("/control") {
        let (status, body) = control::serve(&shared, &asked.method, path, &asked.body).await;
        return Ok(response(&shared, status, &body, None));
    }
    let index = shared.log_begin(&asked.method, &asked.path, &asked.query);
    let answered = api(&shared, &asked, index).await;
    let (status, body) = match answered {
        Ok(answer) => answer,
        Err(Closed) => {
            shared.log_end(index, None);
            return Err(Closed);
        }
    };
    shared.log_end(index, Some(status));
    Ok(response(&shared, status, &body, Some(index)))
}

/// Carries out a call of the API.
async fn api(shared: &Arc<Shared>, asked: &Asked, index: usize) -> Result<(u16, Value), Closed> {
    let millis = lock(&shared.world).scenario.call_millis;
    let route = Route::parse(&asked.method, &asked.path);
    let operation = route.as_ref().map_or_else(String::new, Route::operation);
    let fault = shared.take_fault(&asked.method, &operation, index);
    let applied = match &fault {
        Some(
            FaultKind::Answer { applied, .. }
            | FaultKind::Drop { applied }
            | FaultKind::Hold { applied },
        ) => *applied,
        _ => true,
    };
    if let Some(FaultKind::ActionFails { code }) = &fault {
        lock(&shared.world).next_action_fails = Some(code.clone());
    }
    let answered =
        if applied { decide(shared, asked, route.as_ref()) } else { Ok((500, Value::Null)) };
    lock(&shared.world).next_action_fails = None;
    shared.wake_hosts();
    tokio::time::sleep(Duration::from_millis(millis)).await;
    match fault {
        Some(FaultKind::Drop { .. }) => return Err(Closed),
        Some(FaultKind::Hold { .. }) => {
            shared.hold(index).await;
            return Err(Closed);
        }
        Some(FaultKind::Answer { status, code: None, .. }) => {
            return Ok((status, Value::String("<html>gateway</html>".into())));
        }
        Some(FaultKind::Answer { status, code: Some(code), .. }) => {
            let mut refusal = Refusal::new(&code, "injected by the scenario");
            refusal.status = status;
            return Ok((status, refusal.body()));
        }
        _ => {}
    }
    let (status, body) = match answered {
        Ok(answer) => answer,
        Err(refusal) => (refusal.status, refusal.body()),
    };
    shared.check_answer(&operation, status, &body);
    Ok((status, body))
}

fn decide(shared: &Arc<Shared>, asked: &Asked, route: Option<&Route>) -> Answered {
    // The API checks the path before the token.
    let Some(route) = route else {
        return Err(Refusal::new("not_found", "api route not found"));
    };
    authorize(shared, asked)?;
    shared.take_request()?;
    let operation = route.operation();
    if route.is_gone() {
        let mut refusal = Refusal::new("deprecated_api_endpoint", "this endpoint is gone");
        refusal.details = serde_json::json!({ "announcement": "https://example.org" });
        return Err(refusal);
    }
    if !SCHEMAS.knows(&operation) {
        return Err(Refusal::new("method_not_allowed", "method not allowed"));
    }
    let body: Value = match asked.body.as_ref() {
        b"" => Value::Object(serde_json::Map::new()),
        bytes => serde_json::from_slice(bytes)
            .map_err(|_| Refusal::new("json_error", "invalid JSON in request body"))?,
    };
    if let Err((field, words)) = SCHEMAS.check_request(&operation, &body) {
        let mut refusal = Refusal::invalid(&field, &words);
        refusal.message = format!("invalid input: {words}");
        return Err(refusal);
    }
    let now = lock(&shared.clock).now();
    let mut world = lock(&shared.world);
    world.settle(now);
    // A host can have got another one.
    shared.give_addresses(&mut world);
    let answered = perform::perform(&mut world, route, &Query::parse(&asked.query), &body, now);
    // Actions of no duration are completed at once, and hosts have their address at once.
    world.settle(now);
    shared.give_addresses(&mut world);
    match answered? {
        (status, perform::Written::Value(value)) => Ok((status, value)),
        (status, perform::Written::Server { id, actions }) => {
            Ok((status, perform::created_server(&world, id, &actions, now)))
        }
    }
}

fn authorize(shared: &Shared, asked: &Asked) -> Result<(), Refusal> {
    let refused = |words: &str| Err(Refusal::new("unauthorized", words));
    let Some(token) = &asked.token else { return refused("token is required") };
    let own = (*token == shared.token).then_some(Access::ReadWrite);
    match lock(&shared.world).scenario.tokens.get(token).copied().or(own) {
        Some(Access::ReadWrite) => Ok(()),
        Some(Access::ReadOnly) if asked.method == "GET" => Ok(()),
        Some(Access::ReadOnly) => {
            Err(Refusal::new("token_readonly", "token is only allowed to perform GET requests"))
        }
        Some(Access::Revoked) | None => refused("the token you have provided is invalid"),
    }
}

fn response(
    shared: &Shared,
    status: u16,
    body: &Value,
    index: Option<usize>,
) -> Response<Full<Bytes>> {
    let text = match body {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        body => body.to_string(),
    };
    let mut builder = Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .header("date", http_date(lock(&shared.clock).now()));
    if let Some(index) = index {
        let (limit, remaining, reset) = shared.requests_left();
        builder = builder
            .header("x-correlation-id", format!("sim-{index:08x}"))
            .header("ratelimit-limit", limit)
            .header("ratelimit-remaining", remaining)
            .header("ratelimit-reset", reset);
    }
    builder.body(Full::new(Bytes::from(text))).expect("a response")
}
