//! The processes of a run, as the kernel lists them.

use std::collections::HashMap;

/// All processes below `ancestor`.
pub(super) fn below(ancestor: u32) -> Vec<u32> {
    let parents: HashMap<u32, u32> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            Some((pid, parent_in(&stat)?))
        })
        .collect();
    parents.keys().copied().filter(|pid| is_below(*pid, ancestor, &parents)).collect()
}

/// The parent in the text of `/proc/PID/stat`; the name before it may contain anything.
pub(super) fn parent_in(stat: &str) -> Option<u32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn is_below(mut pid: u32, ancestor: u32, parents: &HashMap<u32, u32>) -> bool {
    // Not longer than there are processes, should ids be used again while they are read.
    for _ in 0..parents.len() {
        match parents.get(&pid) {
            Some(parent) if *parent == ancestor => return true,
            Some(parent) => pid = *parent,
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_below_their_parents() {
        assert_eq!(parent_in("7 (a) b) S 3 7 7 0"), Some(3));
        let parents = HashMap::from([(7, 3), (3, 2), (2, 1), (9, 8), (8, 9)]);
        assert!(is_below(7, 2, &parents));
        assert!(!is_below(2, 7, &parents));
        assert!(!is_below(9, 1, &parents));
    }
}
