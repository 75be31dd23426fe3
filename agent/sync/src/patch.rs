//! Patches: a blob as a zstd frame that uses another blob as its prefix.
//!
//! The prefix of a source file is the version that was synced last: a one-line edit of a
//! large file becomes a patch of about fifty bytes.

use std::io::{self, Read, Write};

use crate::error::SyncError;

/// zstd's level. A low one suffices, since little of a new version is not in the prefix.
const LEVEL: i32 = 3;

/// Total size of prefix and blob in bytes from which zstd needs long-distance matching to
/// find matches in the prefix.
const LONG_FROM_BYTES: usize = 256 << 10;

/// The smallest and the largest window of zstd, as binary logarithms of bytes.
const WINDOW_LOG: std::ops::RangeInclusive<u32> = 10..=30;

/// Makes a patch that turns `base` into `new`.
pub fn make(base: &[u8], new: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::stream::write::Encoder::with_ref_prefix(Vec::new(), LEVEL, base)?;
    encoder.include_checksum(false)?;
    encoder.include_contentsize(false)?;
    encoder.window_log(window_log(base.len(), new.len()))?;
    encoder.long_distance_matching(base.len() + new.len() >= LONG_FROM_BYTES)?;
    encoder.write_all(new)?;
    encoder.finish()
}

/// Applies a patch to `base`. Fails unless the result has exactly `size` bytes; allocates no
/// more than that.
pub fn apply(base: &[u8], patch: &[u8], size: usize) -> Result<Vec<u8>, SyncError> {
    let unpack = || -> io::Result<Vec<u8>> {
        let mut decoder = zstd::stream::read::Decoder::with_ref_prefix(patch, base)?;
        decoder.window_log_max(*WINDOW_LOG.end())?;
        let mut new = Vec::new();
        decoder.take(size as u64 + 1).read_to_end(&mut new)?;
        if new.len() == size { Ok(new) } else { Err(io::ErrorKind::InvalidData.into()) }
    };
    unpack().map_err(SyncError::Compression)
}

/// The logarithm of a window that spans both blobs.
fn window_log(base: usize, new: usize) -> u32 {
    (base + new).next_power_of_two().ilog2().clamp(*WINDOW_LOG.start(), *WINDOW_LOG.end())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_one_line_edit_is_tiny() {
        let base: String =
            (0..4000).map(|line| format!("let x{line} = {};\n", line * 7919)).collect();
        let new = base.replace("let x2000 =", "let renamed =");
        let patch = make(base.as_bytes(), new.as_bytes()).unwrap();
        assert!(patch.len() < 100, "{}", patch.len());
        assert_eq!(apply(base.as_bytes(), &patch, new.len()).unwrap(), new.as_bytes());
        assert!(apply(base.as_bytes(), &patch, new.len() - 1).is_err());
    }

    proptest! {
        #[test]
        fn patches_apply(base in proptest::collection::vec(any::<u8>(), 0..3000),
                         new in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let patch = make(&base, &new).unwrap();
            prop_assert_eq!(apply(&base, &patch, new.len()).unwrap(), new);
        }

        #[test]
        fn garbage_is_an_error(base in proptest::collection::vec(any::<u8>(), 0..100),
                               patch in proptest::collection::vec(any::<u8>(), 0..100)) {
            // Garbage may decompress to something, but must not panic.
            let _ = apply(&base, &patch, 1000);
        }
    }
}
