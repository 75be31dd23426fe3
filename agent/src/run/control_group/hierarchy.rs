//! The hierarchies of control groups that this machine has, and the agent's place in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::control_file::write;

/// The controllers that limit runs.
const CONTROLLERS: [&str; 2] = ["memory", "pids"];

/// The group into which the agent moves itself where a group with limited children may have
/// no processes of its own (version 2).
const AGENT: &str = "burst-agent";

/// The agent's group in the hierarchies that matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hierarchy {
    /// Version 2: one hierarchy with all controllers.
    Two(Group),
    /// Version 1: a hierarchy for memory and one for processes.
    One {
        /// The group in the hierarchy of `memory`.
        memory: Group,
        /// The group in the hierarchy of `pids`.
        pids: Group,
    },
}

/// A group, and the directory at which its hierarchy is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) mount: PathBuf,
    pub(super) directory: PathBuf,
}

impl Hierarchy {
    /// Finds the hierarchies by the mounts and groups of this process. `is_complete` says
    /// whether a group of version 2 has the controllers. None where neither version does.
    pub(super) fn find(
        mountinfo: &str,
        groups: &str,
        is_complete: impl Fn(&Path) -> bool,
    ) -> Option<Self> {
        let two = group_of(mountinfo, groups, None);
        if let Some(group) = two.filter(|group| is_complete(&group.directory)) {
            return Some(Self::Two(group));
        }
        let [memory, pids] = CONTROLLERS.map(|name| group_of(mountinfo, groups, Some(name)));
        Some(Self::One { memory: memory?, pids: pids? })
    }

    /// The groups, each once.
    pub(super) fn groups(&self) -> Vec<&Group> {
        match self {
            Self::Two(group) => vec![group],
            Self::One { memory, pids } => vec![memory, pids],
        }
    }
}

/// Whether the children of a group of version 2 can have the controllers.
pub(super) fn is_complete(group: &Path) -> bool {
    let controllers = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    CONTROLLERS.iter().all(|name| controllers.split_whitespace().any(|other| other == *name))
}

/// Lets the children of a group have the controllers.
pub(super) fn enable_controllers(group: &Path) -> io::Result<()> {
    write(&group.join("cgroup.subtree_control"), "+memory +pids")
}

/// Prepares the agent's group of version 2 for children with controllers: its processes move
/// into a child of their own. Returns the group that is to have the children.
pub(super) fn vacate(own: &Path) -> io::Result<PathBuf> {
    if own.file_name().is_some_and(|name| name == AGENT) {
        // An earlier agent has moved the process that started this one.
        return Ok(own.parent().unwrap_or(own).to_owned());
    }
    // The root of the hierarchy, which has no type, may have processes.
    if own.join("cgroup.type").exists() {
        let agent = own.join(AGENT);
        fs::create_dir_all(&agent)?;
        for process in fs::read_to_string(own.join("cgroup.procs"))?.lines() {
            write(&agent.join("cgroup.procs"), process)?;
        }
    }
    enable_controllers(own)?;
    Ok(own.to_owned())
}

/// The group of this process in the hierarchy of a controller, or in that of version 2.
fn group_of(mountinfo: &str, groups: &str, controller: Option<&str>) -> Option<Group> {
    let path = groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let fits = match controller {
            Some(name) => controllers.split(',').any(|other| other == name),
            None => controllers.is_empty(),
        };
        fits.then_some(path)
    })?;
    mountinfo.lines().find_map(|line| {
        let (own, about) = line.split_once(" - ")?;
        let mut own = own.split(' ').skip(3);
        let (root, mount) = (own.next()?, Path::new(own.next()?));
        let mut about = about.split(' ');
        let (kind, options) = (about.next()?, about.nth(1)?);
        let fits = match controller {
            Some(name) => kind == "cgroup" && options.split(',').any(|other| other == name),
            None => kind == "cgroup2",
        };
        // A mount can show a part of its hierarchy.
        let below = Path::new(path).strip_prefix(root).ok().filter(|_| fits)?;
        let directory = mount.join(below).components().collect();
        Some(Group { mount: mount.to_owned(), directory })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(mount: &str, directory: &str) -> Group {
        Group { mount: mount.into(), directory: directory.into() }
    }

    #[test]
    fn the_unified_hierarchy_is_preferred() {
        let mounts = "24 1 0:21 / /proc rw - proc proc rw\n\
                      30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = Hierarchy::find(mounts, "0::/system.slice/burst-agent.service\n", |_| true);
        let directory = "/sys/fs/cgroup/system.slice/burst-agent.service";
        assert_eq!(found, Some(Hierarchy::Two(group("/sys/fs/cgroup", directory))));
        assert_eq!(Hierarchy::find(mounts, "0::/x\n", |_| false), None);
    }

    #[test]
    fn separate_hierarchies_are_used_where_the_unified_one_has_no_controllers() {
        let mounts = "42 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      43 30 0:31 /outer /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                      44 30 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let groups = "8:pids:/outer/agent\n4:memory,hugetlb:/\n0::/\n";
        let is_complete = |_: &Path| false;
        assert_eq!(
            Hierarchy::find(mounts, groups, is_complete),
            Some(Hierarchy::One {
                memory: group("/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory"),
                pids: group("/sys/fs/cgroup/pids", "/sys/fs/cgroup/pids/agent"),
            })
        );
        let outside = "8:pids:/other\n4:memory:/\n";
        assert_eq!(Hierarchy::find(mounts, outside, is_complete), None);
        assert_eq!(Hierarchy::find("", groups, is_complete), None);
    }

    /// A directory in the place of a hierarchy: what is written where.
    #[test]
    fn the_agent_leaves_a_group_that_gets_children() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path();
        for (name, content) in [("cgroup.type", "domain\n"), ("cgroup.procs", "12\n")] {
            fs::write(own.join(name), content).unwrap();
        }
        fs::create_dir(own.join(AGENT)).unwrap();
        for name in ["cgroup.subtree_control", "burst-agent/cgroup.procs"] {
            fs::write(own.join(name), "").unwrap();
        }
        assert_eq!(vacate(own).unwrap(), own);
        let read = |name: &str| fs::read_to_string(own.join(name)).unwrap();
        assert_eq!(read("burst-agent/cgroup.procs"), "12");
        assert_eq!(read("cgroup.subtree_control"), "+memory +pids");
        // One that is started from there finds the same group.
        assert_eq!(vacate(&own.join(AGENT)).unwrap(), own);
    }
}
