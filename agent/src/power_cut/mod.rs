//! Repair of a project's directories after its disk lost what was not yet written to it: the
//! power was cut, or a server was deleted while cargo ran.
//!
//! A file system with a journal then has every file that it had recorded, but some of them
//! without their content: empty or cut short, with the right name and time. cargo would take
//! an empty library for a fresh one. It replays directory operations in order, so what was
//! recorded before the run is intact. Therefore a run begins with a [`Mark`], which is
//! removed once everything that the run has written is on the disk. Where a mark is found
//! afterwards, everything that has changed since is suspect and is removed, as a whole with
//! what it belongs to, so that cargo makes it again:
//!
//! | what | cargo itself | the repair |
//! |---|---|---|
//! | a unit, in both layouts of the build directory: fingerprint, outputs, `.d` files, what its build script printed and generated | compares times, never content; runs a build script again in its old `OUT_DIR` | removes all parts of the unit |
//! | incremental sessions, which share files with outputs by hard links | E0786 in every later build | removes the crate's sessions |
//! | `doc/`, where crates share files | rustdoc fails on an empty `crates.js`; cargo notices missing pages | removes the directory |
//! | programs and `.d` files beside `deps/`, `.rustc_info.json`, reports of criterion and nextest, archives, anything else below a target directory | links programs again, rewrites the rest | removes the file |
//! | in the cargo home of a volume: `registry/src`, unpacked; `.cargo-ok` says that it is complete | trusts `.cargo-ok` | removes the package |
//! | `registry/cache` | downloads an empty file again, trusts one that was cut short | removes the file |
//! | `registry/index` | ignores what it cannot parse | removes the file; a git index as a whole |
//! | `git/checkouts` | trusts `.cargo-ok` | removes the checkout |
//! | `git/db` | fetches again if it notices | removes the repository |
//! | `.global-cache`, when what was used | makes an empty one again | removes the file |
//!
//! A removed file costs one more build, a kept one can make all later builds wrong, so doubt
//! removes. Not repaired: the tree, whose files are compared with their recorded sizes when
//! the project is opened; packs and returned copies, which are verified when they are read;
//! homes, `/tmp` and programs installed in cargo's home, which belong to the programs that
//! wrote them; and the user's own cargo home, which an agent on this machine uses.
//!
//! Builds write these directories, and the repair may run as root. It follows no symbolic
//! link below them: see [`directory`].
//!
//! Times are those of the clock that stamps files. If it is set back while a mark is set, the
//! mark is set back, too ([`Mark::lower`]): when the kernel reports the change, and before
//! each run. If it is set forward, or was ahead before the run, more is removed than needed.

mod cargo_home;
mod directory;
mod mark;
mod suspects;
mod target;
mod writing;

use std::io;
use std::path::Path;

use burst_sync::clock::Moment;

use self::directory::Directory;
use self::mark::{Mark, flush};
use self::suspects::{Repaired, Suspects};
pub(crate) use self::writing::{WritingRun, WritingRuns};

/// The directories in a project's directory whose entries are target directories.
const TARGETS: &str = "targets";

/// The cargo home of a project that has a volume, beside its directory.
const CARGO_HOME: &str = "cargo-home";

/// Repairs a project on a volume that was just mounted, if a run was interrupted: where the
/// volume was mounted before, what had not been written is lost.
pub(crate) fn repair_mounted(project: &Path) -> io::Result<Option<Repaired>> {
    match Mark::find(project)? {
        Some(mark) => {
            let cargo_home = project.with_file_name(CARGO_HOME);
            repair(project, Some(&cargo_home), mark).map(Some)
        }
        None => Ok(None),
    }
}

/// Repairs a project on a disk of this machine, if a run was interrupted by the end of the
/// kernel: the mark is of another boot. If only the agent was killed, nothing is lost.
pub(crate) fn repair_after_reboot(project: &Path) -> io::Result<Option<Repaired>> {
    match Mark::find(project)? {
        Some(mark) if mark.is_of_another_boot()? => repair(project, None, mark).map(Some),
        _ => Ok(None),
    }
}

fn repair(project: &Path, cargo_home: Option<&Path>, mark: Mark) -> io::Result<Repaired> {
    let repaired = remove_suspects(project, cargo_home, mark.since()?)?;
    // A repair that is cut off itself is repeated: its removals reach the disk first.
    flush(project)?;
    mark.clear()?;
    Ok(repaired)
}

fn remove_suspects(
    project: &Path,
    cargo_home: Option<&Path>,
    since: Moment,
) -> io::Result<Repaired> {
    let mut suspects = Suspects::new(since);
    if let Some(targets) = Directory::open(&project.join(TARGETS))? {
        for entry in targets.entries()? {
            if let Some(target) = targets.below(&entry)? {
                target::repair(&mut suspects, &target)?;
            }
        }
    }
    if let Some(path) = cargo_home
        && let Some(cargo_home) = Directory::open(path)?
    {
        cargo_home::repair(&mut suspects, &cargo_home)?;
    }
    Ok(suspects.removed())
}

#[cfg(test)]
mod tests;
