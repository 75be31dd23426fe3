//! Whether a network blocks UDP: found out once TCP has reached an agent that QUIC has not.
//!
//! That TCP was first says little: a handshake of QUIC is slow in a lossy network, and fails at
//! once on a machine without file descriptors. So one more handshake gets the time for several
//! first packets, beside what the user waits for. Only a network in which none of them is answered
//! counts as one that blocks UDP.

use std::time::Duration;

use quinn::ConnectionError as QuicError;

use super::ConnectionError;

/// How long a probe takes at most. QUIC sends its first packet again after one, three and seven
/// seconds: four that are lost in a row are no accident.
pub(super) const PROBE: Duration = Duration::from_secs(10);

/// What a probe says of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// UDP passes: QUIC works, or the agent has answered something.
    Passes,
    /// UDP is blocked.
    Blocks,
    /// Nothing: the packets may not have left this machine, or it has been in another network.
    Nothing,
}

/// The verdict of a probe that ended with this error, or with none. `is_same_network` says whether
/// the machine is in the network of the probe's beginning.
pub(super) fn verdict(probed: Result<(), &ConnectionError>, is_same_network: bool) -> Verdict {
    match probed {
        _ if !is_same_network => Verdict::Nothing,
        Err(ConnectionError::Silent { source: None, .. }) => Verdict::Blocks,
        Err(ConnectionError::Keys(_)) => Verdict::Nothing,
        Err(ConnectionError::Silent { source: Some(source), .. })
            if !is_answer(source.as_ref()) =>
        {
            Verdict::Nothing
        }
        Ok(()) | Err(_) => Verdict::Passes,
    }
}

/// Whether the other end has sent this error of a connection.
fn is_answer(source: &(dyn std::error::Error + 'static)) -> bool {
    matches!(
        source.downcast_ref::<QuicError>(),
        Some(QuicError::ConnectionClosed(_) | QuicError::ApplicationClosed(_) | QuicError::Reset)
    )
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;

    use super::*;

    fn silent(source: Option<super::super::Source>) -> ConnectionError {
        let address = SocketAddr::from(([192, 0, 2, 1], 7777));
        ConnectionError::Silent { address, source }
    }

    #[test]
    fn only_silence_in_one_network_counts_as_blocked() {
        assert_eq!(verdict(Err(&silent(None)), true), Verdict::Blocks);
        assert_eq!(verdict(Err(&silent(None)), false), Verdict::Nothing);
        // Too many open files, no buffers, no route, a handshake that is slow.
        let own = [24, 105, 101].map(io::Error::from_raw_os_error);
        for error in own.into_iter().chain([io::Error::other(super::super::SLOW)]) {
            assert_eq!(verdict(Err(&silent(Some(error.into()))), true), Verdict::Nothing);
        }
        for error in [QuicError::TimedOut, QuicError::LocallyClosed] {
            assert_eq!(verdict(Err(&silent(Some(error.into()))), true), Verdict::Nothing);
        }
        assert_eq!(verdict(Ok(()), true), Verdict::Passes);
        assert_eq!(verdict(Ok(()), false), Verdict::Nothing);
    }

    #[test]
    fn udp_passes_where_the_agent_answers_with_an_error() {
        let refused = silent(Some(QuicError::Reset.into()));
        for error in [refused, ConnectionError::Ending] {
            assert_eq!(verdict(Err(&error), true), Verdict::Passes);
            assert_eq!(verdict(Err(&error), false), Verdict::Nothing);
        }
    }
}
