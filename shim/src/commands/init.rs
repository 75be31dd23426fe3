//! `cargo burst init`: asks for the token, checks it, shows the server types, and writes the
//! user config.
//!
//! With `--json` the server types are an array of objects `{"server_type", "cores",
//! "memory_gb", "disk_gb", "architecture", "offers": [{"region", "hourly", "monthly",
//! "available"}]}`, cheapest first, prices in EUR without tax.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use burst_hcloud::retry::Retries;
use burst_hcloud::server_type::ServerType;
use burst_hcloud::{Client, Code, Error as ApiError, Id, Labels, Token};
use toml_edit::{Array, DocumentMut, TomlError, value};

use super::context::Context;
use crate::atomic_file;
use crate::directories::unusable;
use crate::environment;
use crate::error::{Error, ErrorKind};
use crate::hetzner::credentials::Endpoint;
use crate::hetzner::error::api;
use crate::settings::{Settings, parse_token, user_file};
use crate::terminal::can_ask;

/// The choices of the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// `--server-type`
    pub(crate) server_type: Option<String>,
    /// `--region`, repeatable.
    pub(crate) region: Vec<String>,
}

/// `cargo burst init`.
pub(crate) fn init(context: &Context<'_>, choice: &Choice) -> Result<(), Error> {
    // A token in the environment would hide the one that is asked for.
    let variables = environment::all().filter(|(name, _)| name != "HCLOUD_TOKEN");
    let settings = Settings::load(&context.directories.config_home, None, variables)?;
    let token = ask_for_token(context)?;
    let types = context.runtime.block_on(check(&Endpoint::of(&settings), &token))?;
    let regions = if choice.region.is_empty() { &settings.region } else { &choice.region };
    check_regions(regions, &types)?;
    if context.json {
        context.print_json(&offers_as_json(&types, regions))?;
    } else {
        context.print(&offers(&types, regions))?;
    }
    let default = settings.server_type.first().cloned().unwrap_or_default();
    let server_type = server_type(context, choice, default, &types)?;
    let origin = |key, chosen| if chosen { String::new() } else { origin_of(&settings, key) };
    let chosen = choice.server_type.is_some() || settings.server_type.first() != Some(&server_type);
    context.terminal.say(&format!("server type: {server_type}{}", origin("server_type", chosen)));
    let chosen = !choice.region.is_empty();
    context.terminal.say(&format!("region: {}{}", regions.join(", "), origin("region", chosen)));
    let path = user_file(&context.directories.config_home);
    write(&path, &token, &server_type, regions)?;
    context.terminal.say(&format!("wrote `{}`, readable only for you", path.display()));
    Ok(())
}

/// Where a value comes from that was not chosen, as it follows the value.
fn origin_of(settings: &Settings, key: &str) -> String {
    let setting = settings.effective().iter().find(|setting| setting.key == key);
    let origin = setting.and_then(|setting| setting.origins.last());
    origin.map(|origin| format!(" ({origin})")).unwrap_or_default()
}

/// The server type to write: the chosen one, or the answer on a terminal, which is asked for
/// again where it is no server type.
fn server_type(
    context: &Context<'_>,
    choice: &Choice,
    default: String,
    types: &[ServerType],
) -> Result<String, Error> {
    const TRIES: usize = 3;
    let is_known = |name: &str| types.iter().any(|known| known.name == name);
    let mut chosen = match &choice.server_type {
        Some(chosen) => chosen.clone(),
        None if can_ask() => context.terminal.ask_for("server type", &default),
        None => default.clone(),
    };
    for _ in 1..TRIES {
        if is_known(&chosen) || choice.server_type.is_some() || !can_ask() {
            break;
        }
        context.terminal.warn(&format!("there is no server type `{chosen}`"));
        chosen = context.terminal.ask_for("server type", &default);
    }
    if is_known(&chosen) {
        return Ok(chosen);
    }
    let names: Vec<&str> = types.iter().map(|known| known.name.as_str()).collect();
    Err(unknown("server type", &chosen, &names))
}

/// Refuses locations that no server type is offered in.
fn check_regions(regions: &[String], types: &[ServerType]) -> Result<(), Error> {
    let known: BTreeSet<&str> = types
        .iter()
        .flat_map(|one| &one.locations)
        .map(|location| location.name.as_str())
        .collect();
    match regions.iter().find(|region| !known.contains(region.as_str())) {
        None => Ok(()),
        Some(wrong) => Err(unknown("location", wrong, &Vec::from_iter(known))),
    }
}

fn unknown(what: &str, name: &str, known: &[&str]) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("there is no {what} `{name}`"),
        format!("choose one of {}", known.join(", ")),
    )
}

fn ask_for_token(context: &Context<'_>) -> Result<Token, Error> {
    let text = if can_ask() {
        context.terminal.ask_secretly(
            "Hetzner API token (console: project, Security, API tokens, Read & Write): ",
        )
    } else {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|_| line)
    };
    let text = text.map_err(|source| {
        let hint = "type the token, or pass it on standard input: `cargo burst init < FILE`";
        Error::new(ErrorKind::Token, "cannot read the token", hint).caused_by(&source)
    })?;
    parse_token(&text, "the input")
}

/// Checks that the token may read and write. Returns the server types, cheapest first.
async fn check(endpoint: &Endpoint, token: &Token) -> Result<Vec<ServerType>, Error> {
    let failed = |error: &ApiError| api(endpoint, "use this token", error);
    let chance = std::sync::Arc::new(|| 0.5);
    let client = Client::new(endpoint.url(), token, Retries::default(), chance)
        .map_err(|error| failed(&error))?;
    let mut types = client.server_types().await.map_err(|error| failed(&error))?;
    // No server has this number. A token that may write gets "not found", any other a refusal.
    match client.label_server(Id(0), &Labels::new()).await {
        Err(error) if matches!(error.code(), Some(Code::NotFound | Code::InvalidInput)) => {}
        Err(error) => return Err(failed(&error)),
        Ok(()) => {}
    }
    let price = |one: &ServerType| one.prices.first().map_or(0.0, |price| price.price_hourly.net());
    types.sort_by(|a, b| price(a).total_cmp(&price(b)));
    Ok(types)
}

/// The server types as a table.
fn offers(types: &[ServerType], regions: &[String]) -> String {
    let mut text = format!(
        "{:<8}{:>6}{:>9}{:>9}{:>14}  {}\n",
        "type", "cores", "memory", "disk", "EUR per hour", "available in"
    );
    for kind in types {
        let Some(price) = regions.iter().find_map(|region| kind.price_in(region)) else { continue };
        let there: Vec<&str> = regions
            .iter()
            .filter(|region| kind.is_available_in(region))
            .map(String::as_str)
            .collect();
        let there = if there.is_empty() { "(fully booked)".to_owned() } else { there.join(" ") };
        text.push_str(&format!(
            "{:<8}{:>6}{:>6} GB{:>6} GB{:>14.4}  {there}\n",
            kind.name,
            kind.cores,
            kind.memory,
            kind.disk,
            price.price_hourly.net()
        ));
    }
    text
}

fn offers_as_json(types: &[ServerType], regions: &[String]) -> serde_json::Value {
    let offers = types.iter().map(|kind| {
        let places = regions.iter().filter_map(|region| {
            let price = kind.price_in(region)?;
            Some(serde_json::json!({
                "region": region,
                "hourly": price.price_hourly.net(),
                "monthly": price.price_monthly.net(),
                "available": kind.is_available_in(region),
            }))
        });
        serde_json::json!({
            "server_type": kind.name,
            "cores": kind.cores,
            "memory_gb": kind.memory,
            "disk_gb": kind.disk,
            "architecture": kind.architecture,
            "offers": places.collect::<Vec<_>>(),
        })
    });
    serde_json::Value::Array(offers.collect())
}

/// Writes the user config with mode 0600; other settings in it are kept.
fn write(path: &Path, token: &Token, server_type: &str, regions: &[String]) -> Result<(), Error> {
    let failed = |source| unusable("write", path, &source);
    let directory = path.parent().unwrap_or(path);
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text.map_err(|source| unusable("read", path, &source))?,
    };
    let mut document: DocumentMut = text.parse().map_err(|error: TomlError| {
        let hint = format!("correct `{}`, or move it away", path.display());
        Error::new(ErrorKind::Settings, format!("`{}` is not valid TOML", path.display()), hint)
            .caused_by(&error)
    })?;
    document["hetzner_token"] = value(token.reveal());
    document["server_type"] = value(server_type);
    document["region"] = value(regions.iter().map(String::as_str).collect::<Array>());
    atomic_file::write(path, document.to_string().as_bytes(), 0o600).map_err(failed)
}
