//! The dead-man switch: a request that deletes this server when its lease has expired.
//!
//! If the user wants it, the shim leaves a will: one HTTPS request, which the agent does
//! not interpret. It is kept in memory alone, and neither it nor an error that could quote
//! it is ever logged. While leases are renewed nothing happens; after the lease has expired
//! the request is sent, and repeated with growing pauses until the server is deleted, whatever the
//! answer is: a server that is deleted ends this process. The timer also counts the time during
//! which the server is suspended.
//!
//! The will belongs to the process, not to a connection: clients come and go, and so do their
//! sessions. Only a lease replaces it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use burst_protocol::message::{Lease, Will};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method};
use rustix::io::Errno;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::runtime::Handle;

use crate::lock::lock;

/// Seconds from the first attempt to send the request until the second.
const RETRY_SECS_MIN: u64 = 5;

/// Most seconds between two attempts. A network or an API that comes back finds a server that
/// costs money, so it is not long.
const RETRY_SECS_MAX: u64 = 60;

/// How long the work before the first attempt may take.
const PREPARE_DEADLINE: Duration = Duration::from_secs(5);

/// How long one attempt may take.
const REQUEST_DEADLINE: Duration = Duration::from_secs(20);

/// Bytes that a read of a timer returns: the number of its expirations.
const TIMER_READ_BYTES: usize = 8;

/// The will of a server and the timer of its lease.
#[derive(Debug)]
pub(crate) struct LastWill {
    armed: Mutex<Option<Armed>>,
    /// Expires when the will is due.
    timer: OwnedFd,
}

#[derive(Debug)]
struct Armed {
    will: Will,
    /// When it is sent, in seconds since the boot.
    due: u64,
    /// How often it was sent.
    attempts: u32,
}

/// Seconds from the last of so many attempts until the next one.
const fn retry_secs(attempts: u32) -> u64 {
    let doublings = if attempts > 16 { 15 } else { attempts.saturating_sub(1) };
    let secs = RETRY_SECS_MIN << doublings;
    if secs < RETRY_SECS_MAX { secs } else { RETRY_SECS_MAX }
}

impl LastWill {
    /// A timer without a will.
    pub(crate) fn new() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?;
        Ok(Self { armed: Mutex::default(), timer })
    }

    /// Renews the lease and takes the will with it; a lease without a will revokes the
    /// earlier one.
    pub(crate) fn renew(&self, lease: Lease) -> io::Result<()> {
        let due = now().saturating_add(lease.secs);
        let mut armed = lock(&self.armed);
        *armed = lease.will.map(|will| Armed { will, due, attempts: 0 });
        self.set_timer(armed.as_ref().map(|armed| armed.due))
    }

    /// Sends the will each time it is due, after `prepare`, which is called once for each lease
    /// that has expired. Blocks a thread of its own for the life of the process: the timer is read
    /// blocking, requests are sent on `runtime`. Returns only with an error of the timer.
    pub(crate) fn send_when_due(
        &self,
        runtime: &Handle,
        prepare: impl Fn() + Clone + Send + 'static,
    ) -> io::Result<()> {
        loop {
            match rustix::io::read(&self.timer, &mut [0; TIMER_READ_BYTES]) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            let Some((will, attempts)) = self.take_due()? else { continue };
            if attempts == 1 {
                within(PREPARE_DEADLINE, prepare.clone());
            }
            let next = retry_secs(attempts);
            match runtime.block_on(send(&will, REQUEST_DEADLINE)) {
                Ok(status) => tracing::warn!(
                    "lease expired: self-delete request sent, HTTP status {status}; if this \
                     server still exists, next attempt in {next} s"
                ),
                Err(step) => tracing::warn!(
                    "lease expired: self-delete request failed ({step}); next attempt in {next} s"
                ),
            }
            self.set_next(attempts)?;
        }
    }

    /// The will, if it is due, and how often it was sent with this attempt.
    fn take_due(&self) -> io::Result<Option<(Will, u32)>> {
        let mut armed = lock(&self.armed);
        let Some(armed) = armed.as_mut().filter(|armed| armed.due <= now()) else {
            return Ok(None);
        };
        armed.attempts = armed.attempts.saturating_add(1);
        Ok(Some((armed.will.clone(), armed.attempts)))
    }

    /// Sets the timer for the attempt after the last of so many, unless the lease was renewed
    /// meanwhile.
    fn set_next(&self, attempts: u32) -> io::Result<()> {
        let mut armed = lock(&self.armed);
        match armed.as_mut().filter(|armed| armed.attempts == attempts) {
            Some(armed) => {
                armed.due = now() + retry_secs(attempts);
                self.set_timer(Some(armed.due))
            }
            None => Ok(()),
        }
    }

    /// Sets the timer to a time in seconds since the boot; none stops it.
    fn set_timer(&self, due: Option<u64>) -> io::Result<()> {
        // Zero would stop the timer.
        let seconds = due.map_or(0, |due| i64::try_from(due.max(1)).unwrap_or(i64::MAX));
        let it_value = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let expiry = Itimerspec { it_interval, it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &expiry)?;
        Ok(())
    }
}

/// Does work on a thread of its own, and waits for it until a deadline: a disk that does not answer
/// does not keep the server.
fn within(deadline: Duration, work: impl FnOnce() + Send + 'static) {
    let (send, done) = mpsc::channel();
    std::thread::spawn(move || {
        work();
        // After the deadline there is no receiver.
        send.send(()).ok();
    });
    done.recv_timeout(deadline).ok();
}

/// Whole seconds since the boot, including those in suspension.
fn now() -> u64 {
    u64::try_from(clock_gettime(ClockId::Boottime).tv_sec).unwrap_or(0)
}

/// Sends the request; returns the HTTP status, or the step that failed: the error itself
/// could quote the request.
async fn send(will: &Will, deadline: Duration) -> Result<u16, &'static str> {
    let method = Method::from_bytes(will.method.as_bytes()).map_err(|_| "invalid method")?;
    let mut headers = HeaderMap::new();
    for (name, value) in &will.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "invalid header name")?;
        let mut value = HeaderValue::from_str(value).map_err(|_| "invalid header value")?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    let client = Client::builder()
        .http1_only()
        // A redirect must not carry the token to another host.
        .redirect(reqwest::redirect::Policy::none())
        .timeout(deadline)
        .build()
        .map_err(|_| "the HTTP client cannot be created")?;
    let sent = client.request(method, &will.url).headers(headers).send().await;
    match sent {
        Ok(response) => Ok(response.status().as_u16()),
        Err(error) if error.is_timeout() => Err("no answer in time"),
        Err(error) if error.is_connect() => Err("no connection"),
        Err(_) => Err("the request cannot be sent"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn will(url: String) -> Will {
        let headers = vec![("authorization".into(), "Bearer secret".into())];
        Will { method: "DELETE".into(), url, headers }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_expired_lease_sends_the_request_and_a_revoked_will_does_not() {
        crate::identity::install_crypto_provider();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/servers/1", listener.local_addr().unwrap());
        let last_will = Arc::new(LastWill::new().unwrap());
        last_will.renew(Lease { secs: 0, will: Some(will(url.clone())) }).unwrap();
        last_will.renew(Lease { secs: 0, will: None }).unwrap();
        std::thread::spawn({
            let (last_will, runtime) = (last_will.clone(), Handle::current());
            move || last_will.send_when_due(&runtime, || {})
        });
        last_will.renew(Lease { secs: 0, will: Some(will(format!("{url}0"))) }).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let request = String::from_utf8(request).unwrap().to_lowercase();
        assert!(request.starts_with("delete /servers/10 http/1.1\r\n"), "{request}");
        assert!(request.contains("authorization: bearer secret\r\n"), "{request}");
        stream.write_all(b"HTTP/1.1 423 Locked\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        // Whatever the answer is, there is a next attempt.
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'D');
    }

    #[test]
    fn attempts_follow_each_other_in_five_seconds_to_a_minute() {
        let secs: Vec<u64> = (1..=6).map(retry_secs).collect();
        assert_eq!(secs, [5, 10, 20, 40, 60, 60]);
        assert_eq!((retry_secs(0), retry_secs(u32::MAX)), (5, 60));
    }

    #[test]
    fn work_that_does_not_end_does_not_keep_the_request() {
        let (end, ended) = mpsc::channel::<()>();
        let waits = move || {
            ended.recv().ok();
        };
        within(Duration::ZERO, waits);
        drop(end);
    }

    /// Whole seconds since the boot, as the kernel writes them.
    fn uptime() -> u64 {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        uptime.split('.').next().unwrap().parse().unwrap()
    }

    #[test]
    fn a_will_is_due_when_its_lease_has_expired_and_again_after_a_pause() {
        let last_will = LastWill::new().unwrap();
        let (url, due) = ("http://127.0.0.1/".to_owned(), || {
            lock(&last_will.armed).as_ref().map(|armed| armed.due).unwrap()
        });
        let earliest = uptime();
        last_will.renew(Lease { secs: 100, will: Some(will(url.clone())) }).unwrap();
        assert!((earliest + 100..=uptime() + 100).contains(&due()));
        assert_eq!(last_will.take_due().unwrap(), None);
        last_will.renew(Lease { secs: 0, will: Some(will(url.clone())) }).unwrap();
        assert_eq!(last_will.take_due().unwrap(), Some((will(url.clone()), 1)));
        let earliest = uptime();
        last_will.set_next(1).unwrap();
        assert!((earliest + 5..=uptime() + 5).contains(&due()));
        assert_eq!(last_will.take_due().unwrap(), None);
        // A lease that was renewed during an attempt holds.
        last_will.renew(Lease { secs: 100, will: Some(will(url)) }).unwrap();
        last_will.set_next(1).unwrap();
        assert!(due() >= earliest + 100);
    }

    #[tokio::test]
    async fn a_request_gives_its_status_or_the_step_that_failed() {
        crate::identity::install_crypto_provider();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sent = will(format!("http://{}/", listener.local_addr().unwrap()));
        let answer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_u8().await.unwrap();
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            stream
        };
        assert_eq!(tokio::join!(send(&sent, REQUEST_DEADLINE), answer).0, Ok(204));
        let no_answer = async { drop(listener.accept().await.unwrap()) };
        let (result, ()) = tokio::join!(send(&sent, REQUEST_DEADLINE), no_answer);
        assert_eq!(result, Err("the request cannot be sent"));
        let short = Duration::from_millis(50);
        assert_eq!(send(&sent, short).await, Err("no answer in time"));
        drop(listener);
        assert_eq!(send(&sent, REQUEST_DEADLINE).await, Err("no connection"));
        let spaced = Will { method: "DE LETE".into(), ..sent.clone() };
        assert_eq!(send(&spaced, REQUEST_DEADLINE).await, Err("invalid method"));
        for (header, value, error) in
            [("a b", "", "invalid header name"), ("a", "\n", "invalid header value")]
        {
            let headers = vec![(header.into(), value.into())];
            assert_eq!(send(&Will { headers, ..sent.clone() }, REQUEST_DEADLINE).await, Err(error));
        }
    }
}
