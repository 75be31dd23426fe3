//! `cargo burst reap`: deletes expired servers and volumes once.
//!
//! The JSON is `{"servers", "volumes", "failed"}` as in `down`. With `--install-timer` it is
//! `{"timer", "enabled", "reason"}`: the path of the unit, whether systemd has enabled it, and
//! if not the reason, else `null`.

use super::context::Context;
use super::failure::error_value;
use super::render;
use crate::error::{Error, ErrorKind};
use crate::hetzner::account::Account;
use crate::hetzner::reap::ReapReport;
use crate::keeper::message::{Ask, Event};

/// `cargo burst reap`.
pub(crate) fn reap(context: &Context<'_>) -> Result<(), Error> {
    let Some(credentials) = context.credentials()? else {
        return match context.json {
            true => context.print_json(&serde_json::json!(ReapReport::default())),
            false => context.print("there is no Hetzner token, so there is nothing to delete\n"),
        };
    };
    let ask = || Ask::Reap { credentials: credentials.clone() };
    let own = async |account: &Account| account.reap().await;
    let reaped = context.with_account(&credentials, ask, reaped_of, own)?;
    if context.json {
        return print_json(context, serde_json::json!(reaped), Some(reaped));
    }
    context.print(&render::reaped(&reaped))?;
    unfinished(Some(reaped))
}

/// Prints a result as one document, with the key `error` if something could not be deleted.
pub(super) fn print_json(
    context: &Context<'_>,
    mut value: serde_json::Value,
    reaped: Option<ReapReport>,
) -> Result<(), Error> {
    let unfinished = unfinished(reaped);
    if let Err(error) = &unfinished {
        value["error"] = error_value(error);
    }
    context.print_json(&value)?;
    unfinished.map_err(Error::reported)
}

pub(super) fn reaped_of(event: Event) -> Option<ReapReport> {
    match event {
        Event::Reaped(reaped) => Some(reaped),
        _ => None,
    }
}

/// An error if something could not be deleted, even where the rest could.
pub(super) fn unfinished(reaped: Option<ReapReport>) -> Result<(), Error> {
    let failed = reaped.map(|reaped| reaped.failed).unwrap_or_default();
    if failed.is_empty() {
        return Ok(());
    }
    let error = Error::new(
        ErrorKind::Api,
        "not everything could be deleted",
        "run the command again; `cargo burst status` shows what is left",
    );
    Err(failed.into_iter().fold(error, Error::cause))
}
