//! The commands that do not call cargo.

mod audit;
mod config;
mod context;
mod copies;
mod doctor;
mod down;
mod failure;
mod init;
mod json;
mod logs;
mod reap;
mod render;
mod status;
mod timer;
mod trust;

pub(crate) use self::audit::audit;
pub(crate) use self::config::config;
pub(crate) use self::context::{Context, warn_of_trouble};
pub(crate) use self::doctor::{apparmor_profile, doctor};
pub(crate) use self::down::down;
pub(crate) use self::failure::{failure, json_text};
pub(crate) use self::init::{Choice, init};
pub(crate) use self::logs::{Log, LogsArguments, logs};
pub(crate) use self::reap::reap;
pub(crate) use self::status::status;
pub(crate) use self::timer::install as install_timer;
pub(crate) use self::trust::trust;
