//! Why a server cannot be created: which rejections another location or type may avoid,
//! and which name in the settings does not exist. Pure.

use burst_hcloud::image::Image;
use burst_hcloud::server_type::ServerType;
use burst_hcloud::{Code, Error as ApiError};

use crate::error::{Error, ErrorKind};

/// How many similar names a hint offers.
const SUGGESTIONS_MAX: usize = 3;

/// Whether another location or type may succeed.
pub(super) fn is_capacity(error: &ApiError) -> bool {
    match error {
        ApiError::Refused { code: Code::ResourceUnavailable | Code::PlacementError, .. } => true,
        // The location does not have this type at all.
        ApiError::Refused { code: Code::InvalidInput, message, .. } => {
            message.contains("unsupported location")
        }
        _ => false,
    }
}

/// Whether the volume that a server is to be created with is still being created, or
/// still attached to a server that is being deleted.
pub(super) fn is_volume_busy(error: &ApiError) -> bool {
    matches!(error.code(), Some(Code::Locked | Code::VolumeAlreadyAttached))
}

/// The newest image for a server type. Hetzner's Arm types are called `cax…`.
pub(super) fn image_for<'a>(server_type: &str, images: &'a [Image]) -> Option<&'a Image> {
    let architecture = if server_type.starts_with("cax") { "arm" } else { "x86" };
    images.iter().find(|image| image.architecture == architecture)
}

/// Checks the price of a server against a limit, both in EUR per started hour.
pub(super) fn check_price(
    types: &[ServerType],
    server_type: &str,
    location: &str,
    limit: f64,
) -> Result<(), Error> {
    let known = types.iter().find(|known| known.name == server_type);
    let price = known.and_then(|known| known.price_in(location));
    let hourly = price.map_or(0.0, |price| price.price_hourly.net());
    if hourly <= limit {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::CostLimit,
        format!("a {server_type} in {location} costs EUR {hourly:.2} per started hour"),
        "raise `--max-cost` or `monthly_budget`, or set a cheaper `server_type`",
    )
    // Negative limits would be shown as -0.00.
    .cause(format!("the limit is EUR {:.2}", limit.max(0.0))))
}

/// Checks that the API knows the names in the settings, as far as it lists any.
pub(super) fn check_names(
    types: &[ServerType],
    server_type: &str,
    location: &str,
) -> Result<(), Error> {
    if !types.iter().any(|known| known.name == server_type) {
        let mut names: Vec<&str> = types.iter().map(|known| known.name.as_str()).collect();
        let similarity = |name: &str| strsim::jaro_winkler(name, server_type);
        names.sort_by(|a, b| similarity(b).total_cmp(&similarity(a)));
        names.truncate(SUGGESTIONS_MAX);
        return Err(Error::new(
            ErrorKind::Unavailable,
            format!("there is no server type `{server_type}`"),
            format!("set `server_type`; did you mean {}?", names.join(", ")),
        ));
    }
    let mut locations: Vec<&str> =
        types.iter().flat_map(|known| &known.locations).map(|at| at.name.as_str()).collect();
    locations.sort_unstable();
    locations.dedup();
    if locations.is_empty() || locations.contains(&location) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        format!("there is no location `{location}`"),
        format!("set `region` to one of {}", locations.join(", ")),
    ))
}
