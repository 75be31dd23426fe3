//! The catalogue: locations, server types, system images, prices.
//!
//! The net prices in euros are those that were published for the EU locations by August
//! 2026; tests must not depend on them. Locations outside the EU cost 20 % more, which is
//! invented.

/// A location.
#[derive(Clone, Copy, Debug)]
pub struct Location {
    /// The id.
    pub id: u64,
    /// The name.
    pub name: &'static str,
    /// The city.
    pub city: &'static str,
    /// The country code.
    pub country: &'static str,
    /// The network zone.
    pub zone: &'static str,
}

/// All locations.
pub const LOCATIONS: [Location; 6] = [
    Location { id: 1, name: "fsn1", city: "Falkenstein", country: "DE", zone: "eu-central" },
    Location { id: 2, name: "nbg1", city: "Nuremberg", country: "DE", zone: "eu-central" },
    Location { id: 3, name: "hel1", city: "Helsinki", country: "FI", zone: "eu-central" },
    Location { id: 4, name: "ash", city: "Ashburn, VA", country: "US", zone: "us-east" },
    Location { id: 5, name: "hil", city: "Hillsboro, OR", country: "US", zone: "us-west" },
    Location { id: 6, name: "sin", city: "Singapore", country: "SG", zone: "ap-southeast" },
];

/// A server type.
#[derive(Clone, Copy, Debug)]
pub struct ServerType {
    /// The id.
    pub id: u64,
    /// The name.
    pub name: &'static str,
    /// The number of cores.
    pub cores: u32,
    /// The memory in GB.
    pub memory: u32,
    /// The size of the local disk in GB.
    pub disk: u32,
    /// The most that is billed in a month, in the EU.
    pub monthly: f64,
}

const fn a_type(
    id: u64,
    name: &'static str,
    (cores, memory, disk): (u32, u32, u32),
    monthly: f64,
) -> ServerType {
    ServerType { id, name, cores, memory, disk, monthly }
}

/// All server types.
pub const SERVER_TYPES: [ServerType; 17] = [
    a_type(114, "cx23", (2, 4, 40), 5.49),
    a_type(115, "cx33", (4, 8, 80), 8.49),
    a_type(116, "cx43", (8, 16, 160), 15.99),
    a_type(117, "cx53", (16, 32, 320), 29.49),
    a_type(45, "cax11", (2, 4, 40), 5.99),
    a_type(95, "cax41", (16, 32, 320), 40.99),
    a_type(108, "cpx12", (1, 2, 40), 11.49),
    a_type(109, "cpx22", (2, 4, 80), 19.49),
    a_type(110, "cpx32", (4, 8, 160), 35.49),
    a_type(111, "cpx42", (8, 16, 320), 69.49),
    a_type(112, "cpx52", (12, 24, 480), 100.49),
    a_type(113, "cpx62", (16, 32, 640), 129.99),
    a_type(96, "ccx13", (2, 8, 80), 42.99),
    a_type(98, "ccx33", (8, 32, 240), 138.49),
    a_type(99, "ccx43", (16, 64, 360), 275.99),
    a_type(100, "ccx53", (32, 128, 600), 533.49),
    a_type(101, "ccx63", (48, 192, 960), 853.49),
];

/// A system image of the vendor; there is one of each name for each architecture.
#[derive(Clone, Copy, Debug)]
pub struct SystemImage {
    /// The id.
    pub id: u64,
    /// The name.
    pub name: &'static str,
    /// The distribution.
    pub flavor: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The CPU architecture.
    pub architecture: &'static str,
}

const fn an_image(
    id: u64,
    name: &'static str,
    (flavor, version): (&'static str, &'static str),
    architecture: &'static str,
) -> SystemImage {
    SystemImage { id, name, flavor, version, architecture }
}

/// All system images. The ids are invented.
pub const SYSTEM_IMAGES: [SystemImage; 6] = [
    an_image(501, "debian-12", ("debian", "12"), "x86"),
    an_image(502, "debian-12", ("debian", "12"), "arm"),
    an_image(503, "debian-13", ("debian", "13"), "x86"),
    an_image(504, "debian-13", ("debian", "13"), "arm"),
    an_image(505, "ubuntu-24.04", ("ubuntu", "24.04"), "x86"),
    an_image(506, "ubuntu-24.04", ("ubuntu", "24.04"), "arm"),
];

/// The hours in which hourly prices add up to the monthly price.
const HOURS_OF_MONTH: f64 = 624.0;

/// Price of a volume per GB and month.
pub const VOLUME_GB_MONTH: f64 = 0.0572;

/// Price of a snapshot per GB and month.
pub const IMAGE_GB_MONTH: f64 = 0.0143;

/// Price of an IPv4 address per hour.
pub const IPV4_HOURLY: f64 = 0.0008;

impl ServerType {
    /// The CPU architecture.
    pub fn architecture(&self) -> &'static str {
        if self.name.starts_with("cax") { "arm" } else { "x86" }
    }

    /// Whether the cores are dedicated.
    pub fn is_dedicated(&self) -> bool {
        self.name.starts_with("ccx")
    }

    /// The most that is billed in a month.
    pub fn monthly_in(&self, location: &str) -> f64 {
        if is_overseas(location) { self.monthly * 1.2 } else { self.monthly }
    }

    /// The price of a started hour.
    pub fn hourly_in(&self, location: &str) -> f64 {
        self.monthly_in(location) / HOURS_OF_MONTH
    }

    /// Whether a location offers the type, in stock or not.
    pub fn is_supported_in(&self, location: &str) -> bool {
        !is_overseas(location) || self.name.starts_with("cpx") || self.is_dedicated()
    }
}

fn is_overseas(location: &str) -> bool {
    ["ash", "hil", "sin"].contains(&location)
}

/// Finds a location by name or id.
pub fn location(text: &str) -> Option<&'static Location> {
    LOCATIONS.iter().find(|location| location.name == text || location.id.to_string() == text)
}

/// Finds a server type by name or id.
pub fn server_type(text: &str) -> Option<&'static ServerType> {
    SERVER_TYPES.iter().find(|one| one.name == text || one.id.to_string() == text)
}
