//! The facts about a server that commands show and record.

use burst_hcloud::server::Server;
use serde::{Deserialize, Serialize};

/// A server's type, location, age and price.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServerSummary {
    /// The server type, such as `ccx63`.
    pub(crate) server_type: String,
    /// The location, such as `hel1`.
    pub(crate) location: String,
    /// Creation time in unix seconds by the API's clock.
    pub(crate) created: i64,
    /// Price in EUR per started hour, without tax and without the address.
    pub(crate) hourly: f64,
}

impl ServerSummary {
    /// The summary of a server. A type without a price in its location counts as free.
    pub(crate) fn of(server: &Server) -> Self {
        let location = server.location.name.clone();
        let price = server.server_type.price_in(&location);
        Self {
            server_type: server.server_type.name.clone(),
            created: server.created.as_second(),
            hourly: price.map_or(0.0, |price| price.price_hourly.net()),
            location,
        }
    }
}
