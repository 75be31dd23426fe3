//! The dead-man switch: what a server does if nobody looks after it any more.
//!
//! The shim, if its user wants that, leaves a will: one HTTPS request, which the agent
//! does not understand and keeps in its memory alone, and a time. While leases are
//! renewed nothing happens; when the time is over the request is sent, again and again
//! until this server is gone. The clock goes on while a server is suspended.

use std::sync::Mutex;
use std::time::Duration;

use burst_protocol::message::{Lease, Will};
use rustix::time::{ClockId, clock_gettime};

use crate::lock::lock;

/// How often is looked whether the time is over.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Seconds between two tries.
const AGAIN_AFTER: u64 = 30;

/// How long one try may take.
const TRY_DEADLINE: Duration = Duration::from_secs(20);

/// The will of a server.
#[derive(Debug, Default)]
pub(crate) struct LastWill(Mutex<Option<Armed>>);

#[derive(Debug)]
struct Armed {
    will: Will,
    /// When it is sent, in seconds since the boot.
    due: u64,
}

impl LastWill {
    /// Takes a will or renews the lease; a lease without a will takes it back.
    pub(crate) fn renew(&self, lease: Lease) {
        let due = now().saturating_add(lease.secs);
        *lock(&self.0) = lease.will.map(|will| Armed { will, due });
    }

    /// Sends the will when its time has come; for a thread of its own.
    pub(crate) fn send_when_due(&self) {
        loop {
            std::thread::sleep(LOOK_EVERY);
            let due = {
                let mut held = lock(&self.0);
                match held.as_mut().filter(|armed| armed.due <= now()) {
                    None => continue,
                    Some(armed) => {
                        armed.due = now() + AGAIN_AFTER;
                        armed.will.clone()
                    }
                }
            };
            // Nothing of the request goes into the log.
            match send(&due) {
                Ok(status) => tracing::warn!("nobody looks after this server: sent ({status})"),
                Err(_) => tracing::warn!("nobody looks after this server: cannot send"),
            }
        }
    }
}

fn now() -> u64 {
    u64::try_from(clock_gettime(ClockId::Boottime).tv_sec).unwrap_or(0)
}

fn send(will: &Will) -> Result<u16, ureq::Error> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(TRY_DEADLINE))
        .http_status_as_error(false)
        .build();
    let mut request =
        ureq::http::Request::builder().method(will.method.as_str()).uri(will.url.as_str());
    for (name, value) in &will.headers {
        request = request.header(name, value);
    }
    let answer = ureq::Agent::new_with_config(config).run(request.body(())?)?;
    Ok(answer.status().as_u16())
}
