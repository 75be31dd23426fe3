//! The identity of this boot of the machine, by which what a process has left is told from what
//! the machine has lost.

/// Where the kernel tells it.
const PATH: &str = "/proc/sys/kernel/random/boot_id";

/// The identity of this boot; empty if the kernel does not tell it.
pub fn this_boot() -> Vec<u8> {
    std::fs::read(PATH).unwrap_or_default()
}

/// Whether two boots are known and the same.
pub fn is_same_boot(one: &[u8], other: &[u8]) -> bool {
    !one.is_empty() && one == other
}

#[cfg(test)]
mod tests {
    use super::{is_same_boot, this_boot};

    #[test]
    fn an_unknown_boot_is_another_one() {
        assert!(is_same_boot(b"a", b"a"));
        assert!(!is_same_boot(b"a", b"b"));
        assert!(!is_same_boot(b"", b"b"));
        assert!(!is_same_boot(b"", b""));
    }

    #[test]
    fn this_boot_is_known_by_the_uuid_of_the_kernel() {
        let boot = String::from_utf8(this_boot()).unwrap();
        let digits: Vec<_> = boot.trim_end().split('-').map(str::len).collect();
        assert_eq!(digits, [8, 4, 4, 4, 12]);
        assert_eq!(this_boot(), boot.as_bytes());
    }
}
