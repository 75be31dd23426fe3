//! `cargo burst init`: asks for the token, checks it, shows what can be ordered, and
//! writes the user's settings.

use std::io::{BufRead, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use burst_hcloud::retry::Retries;
use burst_hcloud::server_type::ServerType;
use burst_hcloud::{Client, Code, Error as ApiError, Id, Labels, Token};
use toml_edit::{Array, DocumentMut, value};

use super::context::Context;
use crate::directories::unusable;
use crate::environment;
use crate::error::{Error, ErrorKind};
use crate::hetzner::credentials::Endpoint;
use crate::hetzner::error::{NEW_TOKEN, api};
use crate::settings::{Settings, user_file};
use crate::terminal::{can_ask, unwritable};

/// What was chosen on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// `--server-type`
    pub(crate) server_type: Option<String>,
    /// `--region`, repeatable.
    pub(crate) region: Vec<String>,
}

/// `cargo burst init`.
pub(crate) fn init(context: &Context<'_>, choice: &Choice) -> Result<(), Error> {
    let settings = Settings::load(&context.directories.config_home, None, |name| {
        // The token that is set would hide the one that is asked for.
        (name != "HCLOUD_TOKEN").then(|| environment::text(name)).flatten()
    })?;
    let token = ask_for_token(context)?;
    let types = context.runtime.block_on(check(&Endpoint::of(&settings), &token))?;
    let regions = if choice.region.is_empty() { &settings.region } else { &choice.region };
    if context.json {
        context.print_json(&offers_as_json(&types, regions))?;
    } else {
        context.print(&offers(&types, regions))?;
    }
    let usual = settings.server_type.first().cloned().unwrap_or_default();
    let server_type = match &choice.server_type {
        Some(chosen) => chosen.clone(),
        None if can_ask() => context.terminal.ask_for("server type", &usual),
        None => usual,
    };
    if !types.iter().any(|known| known.name == server_type) {
        let names: Vec<&str> = types.iter().map(|known| known.name.as_str()).collect();
        return Err(Error::new(
            ErrorKind::Unavailable,
            format!("there is no server type `{server_type}`"),
            format!("choose one of {}", names.join(", ")),
        ));
    }
    let path = user_file(&context.directories.config_home);
    write(&path, &token, &server_type, regions)
        .map_err(|source| unusable("write", &path, &source))?;
    context.terminal.say(&format!(
        "wrote `{}`, for you alone; next: `cargo burst image build`, then `cargo burst build`",
        path.display()
    ));
    Ok(())
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
    let text = text.map_err(|source| unwritable(&source))?;
    Token::parse(&text).map_err(|source| {
        Error::new(ErrorKind::Token, "the input is not a Hetzner API token", NEW_TOKEN)
            .caused_by(&source)
    })
}

/// Whether the token may look and write; then what can be ordered, cheapest first.
async fn check(endpoint: &Endpoint, token: &Token) -> Result<Vec<ServerType>, Error> {
    let failed = |error: &ApiError| api(endpoint, "use this token", error);
    let chance = std::sync::Arc::new(|| 0.5);
    let client = Client::new(endpoint.url(), token, Retries::default(), chance)
        .map_err(|error| failed(&error))?;
    let mut types = client.server_types().await.map_err(|error| failed(&error))?;
    // No server has this number: whoever may write is told so, whoever may not is told
    // that.
    match client.label_server(Id(0), &Labels::new()).await {
        Err(error) if matches!(error.code(), Some(Code::NotFound | Code::InvalidInput)) => {}
        Err(error) => return Err(failed(&error)),
        Ok(()) => {}
    }
    let price = |one: &ServerType| one.prices.first().map_or(0.0, |price| price.price_hourly.net());
    types.sort_by(|a, b| price(a).total_cmp(&price(b)));
    Ok(types)
}

/// What can be ordered, as a table.
fn offers(types: &[ServerType], regions: &[String]) -> String {
    let mut text = format!(
        "{:<8}{:>6}{:>9}{:>8}{:>12}  {}\n",
        "type", "cores", "memory", "disk", "EUR an hour", "available in"
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
            "{:<8}{:>6}{:>6} GB{:>5} GB{:>12.4}  {there}\n",
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

/// Writes the file whole, with mode 0600; what else stands in it stays.
fn write(path: &Path, token: &Token, server_type: &str, regions: &[String]) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(path);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text?,
    };
    let mut document: DocumentMut = text.parse().map_err(std::io::Error::other)?;
    document["hetzner_token"] = value(token.reveal());
    document["server_type"] = value(server_type);
    document["region"] = value(regions.iter().map(String::as_str).collect::<Array>());
    let temporary = path.with_extension("new");
    // One that was left over could be readable.
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(document.to_string().as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}
