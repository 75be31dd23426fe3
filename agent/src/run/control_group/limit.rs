//! The limits that all runs of a server have together: pure.

/// Bytes of memory that are kept for the agent and the kernel, at least and at most.
const RESERVED_BYTES: (u64, u64) = (256 << 20, 2 << 30);

/// The limits of the runs of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Bytes of memory.
    pub(super) memory_bytes: u64,
    /// The number of processes and threads.
    pub(super) processes: u64,
}

impl Limits {
    /// The limits on a machine with so many bytes of memory and room for so many processes.
    /// A sixteenth of the memory, at most a quarter where that is little, and a quarter of
    /// the processes are kept for the agent and the kernel.
    pub(super) fn of(memory_bytes: u64, processes: u64) -> Self {
        let (least, most) = RESERVED_BYTES;
        let reserved = (memory_bytes / 16).clamp(least, most).min(memory_bytes / 4);
        Self { memory_bytes: memory_bytes - reserved, processes: processes - processes / 4 }
    }
}

/// The bytes of memory by `/proc/meminfo`.
pub(super) fn memory_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// A number as the kernel writes a limit; none for `max`.
pub(super) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The count with this name in a file of events, such as `memory.events`.
pub(super) fn count(events: &str, name: &str) -> u64 {
    let counts = events.lines().filter_map(|line| line.split_once(' '));
    counts.filter(|(other, _)| *other == name).find_map(|(_, count)| number(count)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_every_machine_is_kept_for_the_agent() {
        for (memory_gib, kept_mib) in [(1, 256), (2, 256), (8, 512), (32, 2048), (192, 2048)] {
            let limits = Limits::of(memory_gib << 30, 400);
            assert_eq!(limits.memory_bytes, (memory_gib << 30) - (kept_mib << 20), "{memory_gib}");
            assert_eq!(limits.processes, 300);
        }
        // Where there is little, a quarter.
        assert_eq!(Limits::of(400 << 20, 3), Limits { memory_bytes: 300 << 20, processes: 3 });
    }

    #[test]
    fn figures_of_the_kernel_are_read() {
        assert_eq!(memory_of("MemFree: 1 kB\nMemTotal:       16384 kB\n"), Some(16 << 20));
        assert_eq!(memory_of("MemTotal: many\n"), None);
        assert_eq!((number("max\n"), number("42\n")), (None, Some(42)));
        let events = "low 0\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!((count(events, "oom_kill"), count(events, "oom_kil")), (2, 0));
    }
}
