//! The control groups of a host: one in each hierarchy that limits memory or processes, at
//! the root of this machine's. A namespace makes it the root that the host sees.
//!
//! `undertaker.sh` removes them, by the marks that are left in the simulator's directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::scenario::ControlGroups;

/// Where this machine has its hierarchies.
const MOUNT: &str = "/sys/fs/cgroup";

/// The groups of a host.
#[derive(Debug)]
pub(super) struct HostGroups {
    /// The argument of `boot.sh`: the version of the hierarchies, or `none`.
    pub(super) version: &'static str,
    /// Memory first.
    pub(super) directories: Vec<PathBuf>,
}

impl HostGroups {
    /// The groups of a server of the simulator that has this directory: one in the hierarchy
    /// of version 2, or one for memory and one for processes in those of version 1; none on a
    /// machine without hierarchies. The name of the directory keeps simulators apart.
    pub(super) fn of(simulator: &Path, server: u64) -> Self {
        let mount = Path::new(MOUNT);
        let (version, hierarchies) = if mount.join("cgroup.controllers").exists() {
            ("v2", vec![mount.to_owned()])
        } else if mount.join("memory").is_dir() && mount.join("pids").is_dir() {
            ("v1", vec![mount.join("memory"), mount.join("pids")])
        } else {
            ("none", vec![])
        };
        let own = simulator.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{own}-{server}");
        let directories = hierarchies.iter().map(|hierarchy| hierarchy.join(&name)).collect();
        Self { version, directories }
    }

    /// Makes the groups, as the scenario wants them; those of an earlier boot are used again.
    pub(super) fn make(simulator: &Path, server: u64, wanted: &ControlGroups) -> io::Result<Self> {
        if !wanted.there {
            return Ok(Self { version: "none", directories: Vec::new() });
        }
        let groups = Self::of(simulator, server);
        if groups.version == "v2" {
            fs::write(Path::new(MOUNT).join("cgroup.subtree_control"), "+memory +pids")?;
        }
        let marks = simulator.join("groups");
        fs::create_dir_all(&marks)?;
        for (index, directory) in groups.directories.iter().enumerate() {
            fs::create_dir_all(directory)?;
            let mark = marks.join(format!("{server}-{index}"));
            fs::write(mark, directory.as_os_str().as_encoded_bytes())?;
        }
        let memory = wanted.memory_mib.map(|mib| mib << 20);
        groups.limit(&["memory.max", "memory.limit_in_bytes"], memory)?;
        groups.limit(&["pids.max"], wanted.processes)?;
        Ok(groups)
    }

    /// Writes a limit to the file that has one of these names in one of the hierarchies.
    fn limit(&self, names: &[&str], limit: Option<u64>) -> io::Result<()> {
        let Some(limit) = limit else { return Ok(()) };
        for directory in &self.directories {
            for name in names {
                let file = directory.join(name);
                if file.exists() {
                    fs::write(file, limit.to_string())?;
                }
            }
        }
        Ok(())
    }

    /// The files that a process writes itself to, separated by spaces, for `JOIN`.
    pub(super) fn entrances(&self) -> String {
        let entrance = |directory: &PathBuf| directory.join("cgroup.procs").display().to_string();
        self.directories.iter().map(entrance).collect::<Vec<_>>().join(" ")
    }
}
