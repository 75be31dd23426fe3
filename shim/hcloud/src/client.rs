//! Requests with authentication, retries and limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, DATE, HeaderValue};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::endpoint::{normalised, without_userinfo};
use crate::error::{Code, Error, Operation};
use crate::id::Id;
use crate::retry::Retries;
use crate::token::{Token, Tokens};

/// Deadline of establishing a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Largest response in bytes. A page of fifty servers has about 200 kB.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The parameters of a query string.
pub(crate) type Query = Vec<(&'static str, String)>;

/// The JSON object of a response.
pub(crate) type Answer = Map<String, Value>;

/// A source of random numbers in 0..1, for the jitter of retries.
pub type Chance = Arc<dyn Fn() -> f64 + Send + Sync>;

/// A client for one Hetzner project. Clones share their connections and tokens.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    endpoint: String,
    tokens: Tokens,
    retries: Retries,
    chance: Chance,
    /// The API's clock minus the local clock, in seconds.
    offset_secs: Arc<AtomicI64>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let endpoint = without_userinfo(&self.endpoint);
        formatter.debug_struct("Client").field("endpoint", &endpoint).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Refusal {
    error: RefusalError,
}

#[derive(Deserialize)]
struct RefusalError {
    code: Code,
    message: String,
    #[serde(default)]
    details: Option<Details>,
}

#[derive(Default, Deserialize)]
struct Details {
    #[serde(default)]
    fields: Vec<Field>,
    #[serde(default)]
    limits: Vec<Limit>,
}

#[derive(Deserialize)]
struct Field {
    name: String,
    #[serde(default)]
    messages: Vec<String>,
}

#[derive(Deserialize)]
struct Limit {
    name: String,
}

impl RefusalError {
    fn message(&self) -> Box<str> {
        let mut text = self.message.clone();
        if let Some(details) = &self.details {
            for field in &details.fields {
                text.push_str(&format!("; {}: {}", field.name, field.messages.join(", ")));
            }
            for limit in &details.limits {
                text.push_str(&format!("; limit {}", limit.name));
            }
        }
        printable(&text)
    }

    fn limits(&self) -> Box<[Box<str>]> {
        let limits = self.details.iter().flat_map(|details| &details.limits);
        limits.map(|limit| printable(&limit.name)).collect()
    }
}

/// A text of a peer, which must not send commands to a terminal.
fn printable(text: &str) -> Box<str> {
    text.chars().filter(|character| !character.is_control()).take(500).collect()
}

impl Client {
    /// Creates a client for an endpoint, such as `https://api.hetzner.cloud/v1`. A crypto
    /// provider must be installed in rustls. `chance` gives the jitter of retries.
    pub fn new(
        endpoint: &str,
        token: &Token,
        retries: Retries,
        chance: Chance,
    ) -> Result<Self, Error> {
        let endpoint = normalised(endpoint);
        let url = reqwest::Url::parse(&endpoint);
        if !url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            return Err(Error::Endpoint(without_userinfo(&endpoint)));
        }
        // reqwest takes the process's default provider; one that is installed already is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder()
            .user_agent(concat!("cargo-burst/", env!("CARGO_PKG_VERSION")))
            .timeout(retries.attempt)
            .connect_timeout(CONNECT_DEADLINE)
            // A redirect must not carry the token to another host.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(Error::Http)?;
        Ok(Self {
            http,
            endpoint,
            tokens: Tokens::new(token),
            retries,
            chance,
            offset_secs: Arc::default(),
        })
    }

    /// Adds another token of the same Hetzner project, to all clones. It is tried where the API
    /// refuses the others.
    pub fn add_token(&self, token: &Token) {
        self.tokens.add(token);
    }

    /// Adds another token of the same Hetzner project that may write, to all clones. It is used
    /// from now on; where the API refuses it, the others are tried.
    pub fn prefer_token(&self, token: &Token) {
        self.tokens.prefer(token);
    }

    /// Whether the client has this token.
    pub fn has_token(&self, token: &Token) -> bool {
        self.tokens.all().contains(token)
    }

    /// The URL and headers of a `DELETE` request for a server, for use by code without this
    /// client. A header contains the token.
    pub fn deletion_of_server(&self, id: Id) -> (String, Vec<(String, String)>) {
        let preferred = self.tokens.all().first().map(Token::header);
        let authorization = preferred.as_ref().and_then(|header| header.to_str().ok());
        let authorization = authorization.unwrap_or_default().to_owned();
        let url = format!("{}/servers/{id}", self.endpoint);
        (url, vec![("authorization".to_owned(), authorization)])
    }

    /// The current time by the API's clock, as of its last response. Creation times and
    /// bills follow that clock, and the local one may be wrong by hours.
    pub fn now(&self) -> jiff::Timestamp {
        let now = jiff::Timestamp::now();
        let offset = jiff::SignedDuration::from_secs(self.offset_secs.load(Ordering::Relaxed));
        now.checked_add(offset).unwrap_or(now)
    }

    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        key: &'static str,
    ) -> Result<T, Error> {
        let (answer, operation) = self.get_raw(path, Query::new()).await?;
        field(answer, key, &operation)
    }

    pub(crate) async fn get_raw(
        &self,
        path: &str,
        query: Query,
    ) -> Result<(Answer, Operation), Error> {
        self.request(Method::GET, path, &query, None).await
    }

    pub(crate) async fn send<B: Serialize + Sync>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<(Answer, Operation), Error> {
        let body = serde_json::to_vec(body).unwrap_or_default();
        self.request(method, path, &Query::new(), Some(body)).await
    }

    /// Sends a `DELETE` request. Succeeds if the resource does not exist.
    pub(crate) async fn delete(&self, path: &str) -> Result<Answer, Error> {
        match self.request(Method::DELETE, path, &Query::new(), None).await {
            Err(error) if error.is_not_found() => Ok(Answer::new()),
            answered => answered.map(|(answer, _)| answer),
        }
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        query: &Query,
        body: Option<Vec<u8>>,
    ) -> Result<(Answer, Operation), Error> {
        let mut tokens = self.tokens.all().into_iter();
        let mut token = tokens.next();
        let (mut rejected, mut may_not) = (Vec::new(), false);
        let (began, mut tried) = (Instant::now(), 0);
        loop {
            let operation = Operation { method: name(&method), path: path.to_owned() };
            let authorization = token.as_ref().map(Token::header);
            let answered =
                self.once(&method, operation.clone(), authorization, query, body.clone()).await;
            tried += 1;
            match answered {
                Ok(answer) => {
                    self.tokens.remove(&rejected);
                    if let Some(token) = token.filter(|_| may_not) {
                        self.tokens.prefer(&token);
                    }
                    return Ok((answer, operation));
                }
                Err(error) if is_of_token(&error) && tokens.len() > 0 => {
                    match error.code() {
                        Some(Code::Unauthorized) => rejected.extend(token),
                        _ => may_not = true,
                    }
                    token = tokens.next();
                }
                Err(error) => {
                    match self.retries.wait(&error, tried, began.elapsed(), (self.chance)()) {
                        Some(wait) => tokio::time::sleep(wait).await,
                        None => return Err(error),
                    }
                }
            }
        }
    }

    async fn once(
        &self,
        method: &Method,
        operation: Operation,
        authorization: Option<HeaderValue>,
        query: &Query,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, Error> {
        let url = format!("{}{}", self.endpoint, operation.path);
        let mut request = self.http.request(method.clone(), url).query(query);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let lost = |source: reqwest::Error| Error::Unreachable {
            operation: operation.clone(),
            timed_out: source.is_timeout(),
            unsent: source.is_connect(),
            source: source.without_url(),
        };
        let response = request.send().await.map_err(lost)?;
        let status = response.status().as_u16();
        self.learn_time(response.headers().get(DATE));
        let correlation = response
            .headers()
            .get("x-correlation-id")
            .and_then(|value| value.to_str().ok())
            .map(|id| id.chars().take(64).collect::<Box<str>>());
        let bytes = read_all(response).await.map_err(lost)?;
        if !(200..300).contains(&status) {
            return Err(match serde_json::from_slice::<Refusal>(&bytes) {
                Ok(Refusal { error }) => Error::Refused {
                    operation,
                    status,
                    message: error.message(),
                    limits: error.limits(),
                    code: error.code,
                    correlation,
                },
                Err(_) => Error::Status { operation, status, correlation },
            });
        }
        if bytes.is_empty() {
            return Ok(Answer::new());
        }
        serde_json::from_slice(&bytes).map_err(|source| Error::Unintelligible {
            operation,
            correlation,
            source,
        })
    }

    fn learn_time(&self, date: Option<&HeaderValue>) {
        let Some(text) = date.and_then(|date| date.to_str().ok()) else { return };
        let Ok(there) = DateTimeParser::new().parse_timestamp(text) else { return };
        let here = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0));
        let offset = there.as_second() - here;
        // The header has a resolution of one second.
        let offset = if offset.abs() <= 1 { 0 } else { offset };
        self.offset_secs.store(offset, Ordering::Relaxed);
    }
}

/// Whether another token may be permitted what this one is not.
fn is_of_token(error: &Error) -> bool {
    matches!(error.code(), Some(Code::Unauthorized | Code::TokenReadonly | Code::Forbidden))
}

/// Reads a response body. A longer body than [`ANSWER_BYTES_MAX`] is truncated and then
/// fails to parse.
async fn read_all(mut response: reqwest::Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            break;
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

const fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "POST",
    }
}

/// Extracts a field from a response.
pub(crate) fn field<T: DeserializeOwned>(
    mut answer: Answer,
    key: &'static str,
    operation: &Operation,
) -> Result<T, Error> {
    let value = answer.remove(key).unwrap_or_default();
    serde_json::from_value(value).map_err(|source| Error::Unintelligible {
        operation: operation.clone(),
        correlation: None,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_and_no_log_shows_a_password_of_the_endpoint() {
        let token = Token::parse("secret").unwrap();
        let client = |endpoint| Client::new(endpoint, &token, Retries::default(), Arc::new(|| 0.5));
        let right = client("https://me:password@api.example/v1").unwrap();
        assert_eq!(
            format!("{right:?}"),
            "Client { endpoint: \"https://[hidden]@api.example/v1\", .. }"
        );
        let wrong = client("ftp://me:password@api.example").unwrap_err();
        assert_eq!(wrong.to_string(), "`ftp://[hidden]@api.example` is not an http or https URL");
    }

    #[test]
    fn an_endpoint_is_an_http_url_with_an_ascii_host() {
        let token = Token::parse("secret").unwrap();
        for wrong in ["", "api.example/v1", "ftp://api.example", "https://", "https://ü.example"] {
            let client = Client::new(wrong, &token, Retries::default(), Arc::new(|| 0.5));
            assert!(matches!(client, Err(Error::Endpoint(shown)) if shown == wrong));
        }
    }
}
