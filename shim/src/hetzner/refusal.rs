//! Why a server cannot be created: which rejections another location or type may avoid,
//! and which name in the settings does not exist. Pure.
//!
//! A candidate is a server type in a location. Each rejection says which of the candidates
//! after it need not be tried: a limit of the account is the same in all locations.

use burst_hcloud::image::Image;
use burst_hcloud::pricing::Pricing;
use burst_hcloud::server_type::ServerType;
use burst_hcloud::{Code, Error as ApiError};

use super::error::{OUT_OF_STOCK, RAISE_LIMIT};
use crate::error::{Error, ErrorKind};
use crate::terminal::amount;

/// How many similar names a hint offers.
const SUGGESTIONS_MAX: usize = 3;

/// Why a candidate was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The location has no such server now, or never has one.
    Stock,
    /// The location has no space for the project's volume.
    VolumeSpace,
    /// The type is no longer sold.
    Deprecated,
    /// There is no image for the architecture of the type.
    Architecture,
    /// The disk of the type is smaller than the image.
    Disk,
    /// The account's limit of dedicated cores.
    DedicatedCores,
    /// Another limit of the account that a smaller type may keep.
    Cores,
    /// A limit of the account that no type keeps, such as that of its servers.
    Account,
}

impl Reason {
    /// Why the API rejects a server; `None` for an error that no other candidate avoids.
    pub(super) fn of_server(error: &ApiError) -> Option<Self> {
        let ApiError::Refused { code, message, limits, .. } = error else { return None };
        let says = |words: &str| message.contains(words);
        match code {
            Code::ResourceUnavailable | Code::PlacementError | Code::NoSpaceLeftInLocation => {
                Some(Self::Stock)
            }
            Code::InvalidInput if says("unsupported location") => Some(Self::Stock),
            Code::InvalidInput if says("deprecated") => Some(Self::Deprecated),
            Code::InvalidInput if says("image disk is bigger") => Some(Self::Disk),
            Code::ResourceLimitExceeded => {
                let named = match &**limits {
                    [] => message.to_ascii_lowercase(),
                    limits => limits.join(" "),
                };
                Some(match named.as_str() {
                    named if named.contains("dedicated") => Self::DedicatedCores,
                    named if named.contains("core") => Self::Cores,
                    _ => Self::Account,
                })
            }
            _ => None,
        }
    }

    /// Why the API rejects a volume, likewise.
    pub(super) fn of_volume(error: &ApiError) -> Option<Self> {
        let code = error.code()?;
        matches!(code, Code::NoSpaceLeftInLocation | Code::ResourceUnavailable | Code::ServiceError)
            .then_some(Self::VolumeSpace)
    }

    /// Whether a rejection of one candidate rejects another one as well.
    fn covers(self, rejected: (&ServerType, &str), other: (&ServerType, &str)) -> bool {
        let ((rejected, at), (other, place)) = (rejected, other);
        match self {
            Self::Stock => rejected.name == other.name && at == place,
            Self::VolumeSpace => at == place,
            Self::Deprecated | Self::Architecture | Self::Disk | Self::Cores => {
                rejected.name == other.name
            }
            Self::DedicatedCores => other.is_dedicated() && other.cores >= rejected.cores,
            Self::Account => true,
        }
    }

    /// What to do about it.
    const fn hint(self) -> &'static str {
        match self {
            Self::Stock | Self::VolumeSpace => OUT_OF_STOCK,
            Self::Deprecated => "set `server_type` to types that are still sold",
            Self::Architecture => "set `server_type` to types of the image's architecture",
            Self::Disk => "set `server_type` to types with larger disks",
            Self::DedicatedCores => {
                "request a higher limit of dedicated cores in the Hetzner console (new accounts \
                 have few or none), or set `server_type` to types with shared cores, such as cpx62"
            }
            Self::Cores => {
                "request a higher limit of cores in the Hetzner console, or set `server_type` to \
                 smaller types"
            }
            Self::Account => RAISE_LIMIT,
        }
    }
}

/// A candidate that was rejected.
#[derive(Debug)]
struct Rejection<'a> {
    server_type: &'a ServerType,
    location: &'a str,
    reason: Reason,
    cause: String,
}

/// The candidates that were rejected so far.
#[derive(Debug, Default)]
pub(super) struct Rejections<'a>(Vec<Rejection<'a>>);

impl<'a> Rejections<'a> {
    /// Adds a candidate, with what the API or the lists say about it.
    pub(super) fn add(
        &mut self,
        (server_type, location): (&'a ServerType, &'a str),
        (reason, cause): (Reason, String),
    ) {
        self.0.push(Rejection { server_type, location, reason, cause });
    }

    /// Whether a candidate need not be tried.
    pub(super) fn cover(&self, candidate: (&ServerType, &str)) -> bool {
        self.0.iter().any(|rejected| {
            rejected.reason.covers((rejected.server_type, rejected.location), candidate)
        })
    }

    /// The error if no candidate is left: each rejection is a cause.
    pub(super) fn into_error(self) -> Error {
        let mut hints: Vec<&str> = Vec::new();
        for rejected in &self.0 {
            if !hints.contains(&rejected.reason.hint()) {
                hints.push(rejected.reason.hint());
            }
        }
        let message = match self.0.as_slice() {
            [Rejection { reason: Reason::Account, .. }] => "cannot create a server",
            _ => "no server is available in the configured locations and types",
        };
        let error = Error::new(ErrorKind::Unavailable, message, hints.join("; or "));
        self.0.into_iter().fold(error, |error, rejected| {
            let Rejection { server_type, location, reason, cause } = rejected;
            let name = &server_type.name;
            error.cause(match reason {
                Reason::Account => cause,
                Reason::Architecture | Reason::Disk => format!("{name}: {cause}"),
                _ => format!("{name} in {location}: {cause}"),
            })
        })
    }
}

/// Whether the volume that a server is to be created with is still being created, or
/// still attached to a server that is being deleted.
pub(super) fn is_volume_busy(error: &ApiError) -> bool {
    matches!(error.code(), Some(Code::Locked | Code::VolumeAlreadyAttached))
}

/// The newest image that a server of this type can be created from in a location. Fails with
/// what the lists of the API say against it, so that no call is needed.
pub(super) fn image_for<'a>(
    server_type: &ServerType,
    location: &str,
    images: &'a [Image],
) -> Result<&'a Image, (Reason, String)> {
    if !server_type.is_offered_in(location) {
        return Err((Reason::Stock, "Hetzner does not offer this type there".into()));
    }
    let architecture = &server_type.architecture;
    let mut fitting = images.iter().filter(|image| image.architecture == *architecture);
    let Some(newest) = fitting.clone().next() else {
        let cause = format!("there is no image for its architecture ({architecture})");
        return Err((Reason::Architecture, cause));
    };
    fitting.find(|image| image.disk_size <= server_type.disk).ok_or_else(|| {
        let (disk, needed) = (server_type.disk, newest.disk_size);
        (Reason::Disk, format!("its disk has {disk} GB, the image needs {needed} GB"))
    })
}

/// Checks the price of a server against a limit, both in EUR per started hour.
pub(super) fn check_price(
    server_type: &ServerType,
    location: &str,
    limit: f64,
) -> Result<(), Error> {
    let price = server_type.price_in(location);
    let hourly = price.map_or(0.0, |price| price.price_hourly.net());
    let name = &server_type.name;
    within(limit, hourly).map_err(|limit| {
        Error::new(
            ErrorKind::CostLimit,
            format!("a {name} in {location} costs EUR {hourly:.2} per started hour"),
            "raise `--max-cost` or `monthly_budget`, or set a cheaper `server_type`",
        )
        .cause(limit)
    })
}

/// Checks the price of a volume of this size for a server that exists against a limit in EUR per
/// started hour. A month has at least 28 days.
pub(super) fn check_volume_price(gb: u64, pricing: &Pricing, limit: f64) -> Result<(), Error> {
    let monthly = pricing.volume.price_per_gb_month.net() * gb as f64;
    let hourly = monthly / (28.0 * 24.0);
    within(limit, hourly).map_err(|limit| {
        let monthly = amount(monthly);
        Error::new(
            ErrorKind::CostLimit,
            format!("a volume of {gb} GB costs EUR {monthly} per month, {hourly:.3} per hour"),
            "raise `--max-cost` or `monthly_budget`, or set a smaller `volume_gb`",
        )
        .cause(limit)
    })
}

/// Whether a price is within a limit; else what the limit is.
fn within(limit: f64, hourly: f64) -> Result<(), String> {
    if hourly <= limit {
        return Ok(());
    }
    // Negative limits would be shown as -0.00.
    Err(format!("the limit is EUR {:.2}", limit.max(0.0)))
}

/// The server type of a candidate. Fails if the API does not know the names in the settings.
pub(super) fn check_names<'a>(
    types: &'a [ServerType],
    server_type: &str,
    location: &str,
) -> Result<&'a ServerType, Error> {
    let Some(found) = types.iter().find(|known| known.name == server_type) else {
        let mut names: Vec<&str> = types.iter().map(|known| known.name.as_str()).collect();
        let similarity = |name: &str| strsim::jaro_winkler(name, server_type);
        names.sort_by(|a, b| similarity(b).total_cmp(&similarity(a)));
        names.truncate(SUGGESTIONS_MAX);
        return Err(Error::new(
            ErrorKind::Unavailable,
            format!("there is no server type `{server_type}`"),
            format!("set `server_type`; did you mean {}?", names.join(", ")),
        ));
    };
    let mut locations: Vec<&str> =
        types.iter().flat_map(|known| &known.locations).map(|at| at.name.as_str()).collect();
    locations.sort_unstable();
    locations.dedup();
    if locations.is_empty() || locations.contains(&location) {
        return Ok(found);
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        format!("there is no location `{location}`"),
        format!("set `region` to one of {}", locations.join(", ")),
    ))
}

#[cfg(test)]
mod tests {
    use burst_hcloud::Operation;

    use super::*;

    fn server_type(name: &str, cpu: &str, cores: u32, disk: u32) -> ServerType {
        let architecture = if name.starts_with("cax") { "arm" } else { "x86" };
        let value = serde_json::json!({
            "name": name, "cores": cores, "memory": 8, "disk": disk,
            "architecture": architecture, "cpu_type": cpu,
            "locations": [{"name": "hel1"}, {"name": "fsn1"}],
        });
        serde_json::from_value(value).unwrap()
    }

    fn image(id: u64, architecture: &str, disk: u32) -> Image {
        let value = serde_json::json!({
            "id": id, "status": "available", "description": "", "created": "2026-01-01T00:00:00Z",
            "architecture": architecture, "disk_size": disk,
        });
        serde_json::from_value(value).unwrap()
    }

    fn refused(code: Code, message: &str, limits: &[&str]) -> ApiError {
        ApiError::Refused {
            operation: Operation { method: "POST", path: "/servers".into() },
            status: 422,
            code,
            message: message.into(),
            limits: limits.iter().map(|limit| (*limit).into()).collect(),
            correlation: None,
        }
    }

    #[test]
    fn rejections_are_told_apart() {
        let limit = |message, limits: &[&str]| {
            Reason::of_server(&refused(Code::ResourceLimitExceeded, message, limits)).unwrap()
        };
        assert_eq!(limit("exceeded", &["dedicated_core_limit"]), Reason::DedicatedCores);
        assert_eq!(limit("Dedicated core limit exceeded", &[]), Reason::DedicatedCores);
        assert_eq!(limit("exceeded", &["core_limit"]), Reason::Cores);
        assert_eq!(limit("exceeded", &["server_limit"]), Reason::Account);
        assert_eq!(limit("exceeded", &["primary_ip_limit"]), Reason::Account);
        let invalid = |message| Reason::of_server(&refused(Code::InvalidInput, message, &[]));
        assert_eq!(invalid("unsupported location for server type"), Some(Reason::Stock));
        assert_eq!(invalid("server type 3 is deprecated"), Some(Reason::Deprecated));
        assert_eq!(invalid("image disk is bigger than server type disk"), Some(Reason::Disk));
        assert_eq!(invalid("invalid input in field 'name'"), None);
        for code in [Code::ResourceUnavailable, Code::PlacementError] {
            assert_eq!(Reason::of_server(&refused(code, "", &[])), Some(Reason::Stock));
        }
        let volume = |code| Reason::of_volume(&refused(code, "", &[]));
        assert_eq!(volume(Code::NoSpaceLeftInLocation), Some(Reason::VolumeSpace));
        assert_eq!(volume(Code::ResourceLimitExceeded), None);
    }

    #[test]
    fn a_rejection_covers_what_would_be_rejected_for_the_same_reason() {
        let [big, small] = [("ccx63", 48), ("ccx33", 8)]
            .map(|(name, cores)| server_type(name, "dedicated", cores, 900));
        let shared = server_type("cpx62", "shared", 16, 640);
        let covered = |reason, rejected: (&ServerType, &str)| {
            let mut rejections = Rejections::default();
            rejections.add(rejected, (reason, "no".into()));
            let types = [&big, &small, &shared];
            let all = types.iter().flat_map(|one| ["hel1", "fsn1"].map(|place| (*one, place)));
            let covered = all.filter(|candidate| rejections.cover(*candidate));
            covered.map(|(one, place)| format!("{}@{place}", one.name)).collect::<Vec<_>>()
        };
        assert_eq!(covered(Reason::Stock, (&big, "hel1")), ["ccx63@hel1"]);
        assert_eq!(covered(Reason::Disk, (&big, "hel1")), ["ccx63@hel1", "ccx63@fsn1"]);
        assert_eq!(
            covered(Reason::VolumeSpace, (&big, "fsn1")),
            ["ccx63@fsn1", "ccx33@fsn1", "cpx62@fsn1"]
        );
        assert_eq!(covered(Reason::DedicatedCores, (&big, "hel1")), ["ccx63@hel1", "ccx63@fsn1"]);
        assert_eq!(covered(Reason::DedicatedCores, (&small, "hel1")).len(), 4);
        assert_eq!(covered(Reason::Account, (&shared, "hel1")).len(), 6);
    }

    #[test]
    fn a_volume_is_held_against_the_limit() {
        let pricing = serde_json::json!({
            "currency": "EUR",
            "volume": {"price_per_gb_month": {"net": "0.0336"}},
            "image": {"price_per_gb_month": {"net": "0.0119"}},
        });
        let pricing: Pricing = serde_json::from_value(pricing).unwrap();
        let check = |limit| check_volume_price(200, &pricing, limit);
        assert!(check(0.0101).is_ok());
        let refused = check(-1.0).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::CostLimit);
        assert_eq!(
            refused.one_line(),
            "a volume of 200 GB costs EUR 6.72 per month, 0.010 per hour: the limit is EUR 0.00"
        );
    }

    #[test]
    fn the_newest_image_that_fits_is_taken() {
        let images = [image(3, "x86", 320), image(2, "x86", 80), image(1, "x86", 20)];
        let chosen = |disk| {
            let found = image_for(&server_type("cx", "shared", 2, disk), "hel1", &images);
            found.map(|image| image.id.0)
        };
        assert_eq!(chosen(640), Ok(3));
        assert_eq!(chosen(80), Ok(2));
        let small = "its disk has 10 GB, the image needs 320 GB".to_owned();
        assert_eq!(chosen(10), Err((Reason::Disk, small)));
        let arm = image_for(&server_type("cax41", "shared", 16, 320), "hel1", &images);
        assert_eq!(arm.unwrap_err().0, Reason::Architecture);
        let there = image_for(&server_type("cx", "shared", 2, 80), "ash", &images);
        assert_eq!(there.unwrap_err().0, Reason::Stock);
    }
}
