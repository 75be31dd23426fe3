//! `cargo burst init`: asks for the token, checks it, shows what can be ordered at which price,
//! asks which of it to use, and writes the user config.
//!
//! Without a terminal nothing but the token is asked for, on standard input: what the command
//! line does not choose is taken from the settings or suggested. With `--json` the server types
//! are an array of objects `{"server_type", "cores", "cpu_type", "needs_quota", "memory_gb",
//! "disk_gb", "architecture", "offers": [{"region", "hourly", "monthly", "available"}]}`, first
//! those without a quota, then by price; prices are in EUR without tax. With `--region` they are
//! those of these locations.
//!
//! Nothing is written before all answers are there and checked.

mod questions;
mod table;
mod user_file;

use self::questions::SetToken;
use self::user_file::Choices;
use super::context::Context;
use super::doctor::warn_of_ports;
use crate::environment;
use crate::error::{Error, ErrorKind};
use crate::hetzner::credentials::Endpoint;
use crate::hetzner::market::{Market, Offer};
use crate::settings::{Origin, Settings, user_file};
use crate::terminal::can_ask;

/// What is not there while no image is.
const NO_IMAGE: &str = "there is no image yet, and without one no server can be created: the \
                        command that makes it does not exist yet";

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
    let path = user_file(&context.directories.config_home);
    // A token in the environment would hide that of the file.
    let variables = environment::all().filter(|(name, _)| name != "HCLOUD_TOKEN");
    let settings = Settings::load(&context.directories.config_home, None, variables)?;
    let endpoint = Endpoint::of(&settings);
    let set = SetToken::find(&settings, &path.display().to_string());
    let ask = |token: &_| context.runtime.block_on(Market::ask(&endpoint, token));
    let (token, market) = questions::token(context.terminal, set.as_ref(), ask)?;
    let dialogue = Dialogue { context, choice, settings: &settings, market: &market };
    dialogue.check_choice()?;
    if context.json {
        context.print_json(&table::as_json(&market.offers, &choice.region))?;
    } else {
        context.print(&table::table(&market.offers, &choice.region))?;
    }
    let server_types = dialogue.server_types()?;
    let regions = dialogue.regions(&server_types)?;
    let dead_man_switch = dialogue.dead_man_switch()?;
    dialogue.tell(&server_types, &regions);
    let choices =
        Choices { token: &token, server_types: &server_types, regions: &regions, dead_man_switch };
    user_file::write(&path, &choices)?;
    context.terminal.say(&format!("wrote `{}`, readable only for you", path.display()));
    questions::warn_of_environment(context.terminal, &token);
    warn_of_ports(context);
    Ok(())
}

/// What is chosen from, and by what.
struct Dialogue<'a> {
    context: &'a Context<'a>,
    choice: &'a Choice,
    settings: &'a Settings,
    market: &'a Market,
}

impl Dialogue<'_> {
    /// Refuses what the command line names and Hetzner does not have.
    fn check_choice(&self) -> Result<(), Error> {
        let chosen: Vec<String> = self.choice.server_type.iter().cloned().collect();
        if !chosen.is_empty() {
            self.check_types(&chosen)?;
        }
        match self.choice.region.as_slice() {
            [] => Ok(()),
            regions => self.check_regions(regions, &chosen),
        }
    }

    fn server_types(&self) -> Result<Vec<String>, Error> {
        if let Some(chosen) = &self.choice.server_type {
            return Ok(vec![chosen.clone()]);
        }
        let is_chosen = self.is_set("server_type");
        let suggested = self.market.suggested(&self.settings.server_type, is_chosen);
        if !can_ask() {
            return self.check_types(&suggested).map(|()| suggested);
        }
        let check = |names: &[String]| self.check_types(names);
        questions::names(
            self.context.terminal,
            "server types, the first choice first",
            &suggested,
            check,
        )
    }

    fn regions(&self, server_types: &[String]) -> Result<Vec<String>, Error> {
        if !self.choice.region.is_empty() {
            self.check_regions(&self.choice.region, server_types)?;
            return Ok(self.choice.region.clone());
        }
        let first = server_types.first().and_then(|name| self.market.offer(name).ok());
        let configured = &self.settings.region;
        let suggested =
            first.map_or_else(|| configured.clone(), |offer| offer.suggested_locations(configured));
        if !can_ask() {
            return Ok(suggested);
        }
        let check = |names: &[String]| self.check_regions(names, server_types);
        questions::names(
            self.context.terminal,
            "locations, the first choice first",
            &suggested,
            check,
        )
    }

    /// The answer about `dead_man_switch`; none where it is not asked. What was answered before is
    /// the default.
    fn dead_man_switch(&self) -> Result<Option<bool>, Error> {
        if !can_ask() {
            return Ok(None);
        }
        let default = !self.is_set("dead_man_switch") || self.settings.dead_man_switch;
        questions::dead_man_switch(self.context.terminal, default).map(Some)
    }

    /// Says what will be written, what a session costs, and what is not there.
    fn tell(&self, server_types: &[String], regions: &[String]) {
        let terminal = self.context.terminal;
        let chosen =
            self.choice.server_type.is_some() || *server_types != self.settings.server_type;
        let origin = self.origin("server_type", chosen);
        terminal.say(&format!("server type: {}{origin}", server_types.join(", ")));
        let chosen = !self.choice.region.is_empty() || *regions != self.settings.region;
        terminal.say(&format!("region: {}{}", regions.join(", "), self.origin("region", chosen)));
        let offers = || self.offers(server_types);
        let candidates = || {
            offers().flat_map(|offer| {
                let places = regions.iter().filter_map(|region| offer.place(region));
                places.map(move |place| (offer, place))
            })
        };
        let in_stock = candidates().find(|(_, place)| place.is_available);
        if let Some((offer, place)) = in_stock.or_else(|| candidates().next()) {
            let volume_gb = self.settings.volume_gb;
            let monthly = self.market.volume_gb_monthly * volume_gb as f64;
            terminal.say(&table::session((&offer.name, place), (volume_gb, monthly)));
        }
        if in_stock.is_none() {
            terminal.warn(
                "all of these are sold out now: name more types or locations, or try again later",
            );
        }
        for offer in offers().filter(|offer| offer.is_dedicated) {
            terminal.warn(&format!(
                "{} has {} dedicated cores: a new account has a quota of few or none; request more \
                 in the Hetzner console (Limits)",
                offer.name, offer.cores
            ));
        }
        if !self.market.has_image {
            terminal.warn(NO_IMAGE);
        }
    }

    fn offers<'b>(&'b self, names: &'b [String]) -> impl Iterator<Item = &'b Offer> {
        names.iter().filter_map(|name| self.market.offer(name).ok())
    }

    fn check_types(&self, names: &[String]) -> Result<(), Error> {
        if names.is_empty() {
            let hint = "create a project with server types at Hetzner, or try again later";
            return Err(Error::new(ErrorKind::Unavailable, "no server type can be used", hint));
        }
        let checked = names.iter().try_for_each(|name| self.market.offer(name).map(drop));
        checked.map_err(unavailable)
    }

    /// Checks locations against these types, or against all where none is chosen yet.
    fn check_regions(&self, regions: &[String], server_types: &[String]) -> Result<(), Error> {
        let offers: Vec<&Offer> = match server_types {
            [] => self.market.offers.iter().collect(),
            names => self.offers(names).collect(),
        };
        let mut checked = regions.iter().map(|region| self.market.check_location(region, &offers));
        checked.try_for_each(|checked| checked).map_err(unavailable)
    }

    /// Where the value of a key comes from that was not `chosen` now, as it follows the value.
    fn origin(&self, key: &str, chosen: bool) -> String {
        let origin = self.last_origin(key).filter(|_| !chosen);
        origin.map(|origin| format!(" ({origin})")).unwrap_or_default()
    }

    /// Whether the user has set a key.
    fn is_set(&self, key: &str) -> bool {
        self.last_origin(key).is_some_and(|origin| *origin != Origin::Default)
    }

    fn last_origin(&self, key: &str) -> Option<&Origin> {
        let setting = self.settings.effective().iter().find(|setting| setting.key == key)?;
        setting.origins.last()
    }
}

fn unavailable((message, hint): (String, String)) -> Error {
    Error::new(ErrorKind::Unavailable, message, hint)
}
