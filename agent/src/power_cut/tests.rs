use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use burst_sync::clock::Moment;

use super::*;
use crate::host::BuildUser;

const HOUR: i64 = 3600;

/// A volume with a project, whose mark can be set between what is old and what is new.
struct Volume(tempfile::TempDir);

impl Volume {
    fn new() -> Self {
        let volume = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(volume.project()).unwrap();
        volume
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn project(&self) -> PathBuf {
        self.path("project")
    }

    /// Creates files, each with its path as content.
    fn create(&self, paths: &[&str]) {
        for path in paths {
            fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
            fs::write(self.path(path), path).unwrap();
        }
    }

    fn set_mark(&self) {
        next_tick();
        Mark::set(&self.project(), Moment::coarse_now()).unwrap();
    }

    /// All files and links, sorted.
    fn files(&self) -> Vec<String> {
        fn add(root: &Path, directory: &Path, files: &mut Vec<String>) {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                match path.symlink_metadata().unwrap().is_dir() {
                    true => add(root, &path, files),
                    false => files.push(path.strip_prefix(root).unwrap().display().to_string()),
                }
            }
        }
        let mut files = Vec::new();
        add(self.0.path(), self.0.path(), &mut files);
        files.sort();
        files
    }

    fn assert_files(&self, expected: &[&str]) {
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(self.files(), expected);
    }
}

/// Waits until files that are written next are newer than those before, which can have a
/// time between two ticks.
fn next_tick() {
    let begun = Moment::now();
    while Moment::coarse_now() <= begun {
        std::thread::yield_now();
    }
}

const T: &str = "project/targets/t";

fn below_target(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|path| format!("{T}/{path}")).collect()
}

fn create_below_target(volume: &Volume, paths: &[&str]) {
    let paths = below_target(paths);
    volume.create(&paths.iter().map(String::as_str).collect::<Vec<_>>());
}

fn assert_below_target(volume: &Volume, expected: &[&str]) {
    let expected = below_target(expected);
    volume.assert_files(&expected.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn units_of_the_classic_layout_are_removed_with_all_their_parts() {
    let volume = Volume::new();
    let kept = [
        "debug/.fingerprint/dep-00000000000000aa/lib-dep",
        "debug/deps/libdep-00000000000000aa.rlib",
        "debug/deps/dep-00000000000000aa.d",
        "debug/build/dep-00000000000000ab/output",
        "debug/build/dep-00000000000000ab/out/generated.rs",
        "debug/.fingerprint/dep-00000000000000ab/run-build-script-build-script-build",
        "debug/libold.so",
    ];
    create_below_target(&volume, &kept);
    // Old parts of units of which the run writes another part.
    create_below_target(
        &volume,
        &[
            "debug/.fingerprint/app-00000000000000bb/bin-app",
            "debug/deps/app-00000000000000bb.d",
            "debug/build/sys-00000000000000cc/out/object.o",
            "x86_64-unknown-linux-gnu/release/deps/libapp-00000000000000dd.rmeta",
        ],
    );
    volume.set_mark();
    create_below_target(
        &volume,
        &[
            "debug/deps/app-00000000000000bb",
            "debug/examples/show-00000000000000ee",
            "debug/examples/show",
            "debug/.fingerprint/sys-00000000000000cc/run-build-script-build-script-build",
            "x86_64-unknown-linux-gnu/release/.fingerprint/app-00000000000000dd/lib-app",
            "debug/app",
            "debug/app.d",
            ".rustc_info.json",
            "nextest/default/junit.xml",
            // A target directory that a test has made for itself.
            "tests/nested/target/debug/.fingerprint/x-00000000000000ff/lib-x",
        ],
    );
    assert_eq!(repair_mounted(&volume.project()).unwrap(), Some(Repaired { wholes: 5, files: 5 }));
    assert_below_target(&volume, &kept);
}

#[test]
fn units_of_the_new_layout_are_removed_whole() {
    let volume = Volume::new();
    let kept = [
        "debug/build/dep/00000000000000aa/fingerprint/lib-dep",
        "debug/build/dep/00000000000000aa/out/libdep-00000000000000aa.rlib",
    ];
    create_below_target(&volume, &kept);
    create_below_target(
        &volume,
        &[
            "debug/build/dep/00000000000000ab/fingerprint/run-build-script-build-script-build",
            "debug/build/dep/00000000000000ab/out/object.o",
            "debug/build/app/00000000000000bb/fingerprint/bin-app",
        ],
    );
    volume.set_mark();
    create_below_target(
        &volume,
        &[
            "debug/build/dep/00000000000000ab/run/stdout",
            "debug/build/app/00000000000000bb/out/app",
            "debug/app",
        ],
    );
    assert_eq!(repair_mounted(&volume.project()).unwrap(), Some(Repaired { wholes: 2, files: 1 }));
    assert_below_target(&volume, &kept);
}

#[test]
fn sessions_and_documentation_are_removed_whole() {
    let volume = Volume::new();
    let kept = [
        "debug/incremental/old-1/s-a-b-c/metadata.rmeta",
        "debug/incremental/old-1/s-a-b.lock",
        "doc.txt",
        "criterion/base/old.json",
    ];
    create_below_target(&volume, &kept);
    create_below_target(
        &volume,
        &["debug/incremental/app-2/s-a-b-c/dep-graph.bin", "doc/app/index.html"],
    );
    volume.set_mark();
    create_below_target(
        &volume,
        &[
            "debug/incremental/app-2/s-d-e-f/dep-graph.bin",
            "doc/crates.js",
            "criterion/base/new.json",
        ],
    );
    assert_eq!(repair_mounted(&volume.project()).unwrap(), Some(Repaired { wholes: 2, files: 1 }));
    assert_below_target(&volume, &kept);
}

#[test]
fn downloads_are_removed_as_cargo_trusts_them() {
    let volume = Volume::new();
    let kept = [
        "cargo-home/registry/src/index-1/old-1.0.0/.cargo-ok",
        "cargo-home/registry/cache/index-1/old-1.0.0.crate",
        "cargo-home/registry/index/index-1/.cache/ol/d/old",
        "cargo-home/git/db/old-1/HEAD",
        "cargo-home/git/checkouts/old-1/abc/.cargo-ok",
        "home/old",
        "project/tree/old",
    ];
    volume.create(&kept);
    volume.create(&[
        "cargo-home/registry/src/index-1/new-1.0.0/src/lib.rs",
        "cargo-home/registry/index/git-2/.git/HEAD",
        "cargo-home/git/db/new-1/HEAD",
    ]);
    volume.set_mark();
    volume.create(&[
        "cargo-home/registry/src/index-1/new-1.0.0/.cargo-ok",
        "cargo-home/registry/cache/index-1/new-1.0.0.crate",
        "cargo-home/registry/index/index-1/.cache/ne/w/new",
        "cargo-home/registry/index/index-1/config.json",
        "cargo-home/registry/index/git-2/.git/objects/pack/new",
        "cargo-home/git/db/new-1/objects/pack/new",
        "cargo-home/git/checkouts/old-1/def/lib.rs",
        "cargo-home/.global-cache",
    ]);
    // Not of these: what belongs to other programs, and the sources.
    let others = ["cargo-home/bin/tool", "home/.cache/tool", "project/tree/new"];
    volume.create(&others);
    assert_eq!(repair_mounted(&volume.project()).unwrap(), Some(Repaired { wholes: 4, files: 4 }));
    volume.assert_files(&[&kept[..], &others[..]].concat());
}

#[test]
fn no_link_of_a_build_is_followed() {
    let volume = Volume::new();
    volume.create(&["elsewhere/lib-x", "elsewhere/deps/libx-00000000000000aa.rlib"]);
    let target = volume.path(T);
    fs::create_dir_all(target.join("debug/build/package")).unwrap();
    fs::create_dir_all(target.join("debug/deps")).unwrap();
    fs::create_dir_all(volume.path("cargo-home/registry")).unwrap();
    volume.set_mark();
    volume.create(&["elsewhere/new"]);
    let elsewhere = volume.path("elsewhere");
    let before = volume.files();
    for link in [
        "project/targets/linked",
        "project/targets/t/linked",
        "project/targets/t/doc",
        "project/targets/t/debug/.fingerprint",
        "project/targets/t/debug/incremental",
        "project/targets/t/debug/build/package/00000000000000aa",
        "project/targets/t/debug/build/package-00000000000000bb",
        "project/targets/t/debug/deps/libx-00000000000000aa.rlib",
        "cargo-home/registry/src",
        "cargo-home/git",
    ] {
        symlink(&elsewhere, volume.path(link)).unwrap();
    }
    // The links themselves are files that the run has made.
    assert_eq!(repair_mounted(&volume.project()).unwrap(), Some(Repaired { wholes: 2, files: 5 }));
    let links = ["cargo-home/git", "cargo-home/registry/src", "project/targets/linked"];
    let mut expected: Vec<_> = before
        .iter()
        .filter(|path| !path.ends_with("running"))
        .map(String::as_str)
        .chain(links)
        .collect();
    expected.sort_unstable();
    assert_eq!(volume.files(), expected);
}

#[test]
fn a_link_in_the_place_of_the_mark_is_not_followed() {
    let volume = Volume::new();
    let (mark, elsewhere) = (volume.path("project/running"), volume.path("elsewhere"));
    symlink(&elsewhere, &mark).unwrap();
    let past = Moment::from_seconds(0);
    Mark::set(&volume.project(), past).unwrap_err();
    assert!(!elsewhere.exists());
    volume.create(&["elsewhere"]);
    let before = elsewhere.metadata().unwrap().modified().unwrap();
    Mark::set(&volume.project(), past).unwrap_err();
    Mark::force(&volume.project()).unwrap_err();
    repair_mounted(&volume.project()).unwrap_err();
    assert_eq!(elsewhere.metadata().unwrap().modified().unwrap(), before);
    assert_eq!(fs::read(&elsewhere).unwrap(), b"elsewhere");
}

/// Archives and copies set the times of what they write.
#[test]
fn files_with_an_earlier_time_of_their_own_are_removed() {
    let volume = Volume::new();
    create_below_target(&volume, &["old"]);
    volume.set_mark();
    create_below_target(&volume, &["unpacked"]);
    let unpacked = File::options().write(true).open(volume.path(T).join("unpacked")).unwrap();
    unpacked.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(repair_mounted(&volume.project()).unwrap(), Some(Repaired { wholes: 0, files: 1 }));
    assert_below_target(&volume, &["old"]);
}

#[test]
fn directories_without_rights_are_removed() {
    use std::os::unix::fs::PermissionsExt;
    let volume = Volume::new();
    volume.set_mark();
    create_below_target(&volume, &["debug/build/sys/00000000000000aa/out/cache/file"]);
    let cache = volume.path(T).join("debug/build/sys/00000000000000aa/out/cache");
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o500)).unwrap();
    fs::set_permissions(cache.parent().unwrap(), fs::Permissions::from_mode(0o000)).unwrap();
    let repaired = as_owner(&volume, || repair_mounted(&volume.project()).unwrap());
    assert_eq!(repaired, Some(Repaired { wholes: 1, files: 0 }));
    volume.assert_files(&[]);
}

/// Calls `work` with the file rights of the volume's owner, who is not root.
fn as_owner<T: Send>(volume: &Volume, work: impl FnOnce() -> T + Send) -> T {
    if !nix::unistd::geteuid().is_root() {
        return work();
    }
    const NOBODY: u32 = 65_534;
    let (uid, gid) = (nix::unistd::Uid::from_raw(NOBODY), nix::unistd::Gid::from_raw(NOBODY));
    let owner = format!("{NOBODY}:{NOBODY}");
    let mut chown = std::process::Command::new("chown");
    assert!(chown.args(["-R", &owner]).arg(volume.path(".")).status().unwrap().success());
    let owner = BuildUser { uid, gid, home: PathBuf::new() };
    std::thread::scope(|scope| {
        let run = move || {
            owner.assume_file_access();
            work()
        };
        scope.spawn(run).join().unwrap()
    })
}

#[test]
fn a_project_is_repaired_once_and_only_with_a_mark() {
    let volume = Volume::new();
    let file = ["debug/app"];
    create_below_target(&volume, &file);
    assert_eq!(repair_mounted(&volume.project()).unwrap(), None);
    assert_eq!(repair_mounted(&volume.path("missing")).unwrap(), None);
    Mark::set(&volume.project(), Moment::coarse_now()).unwrap();
    Mark::find(&volume.project()).unwrap().unwrap().clear().unwrap();
    assert_eq!(repair_mounted(&volume.project()).unwrap(), None);
    volume.set_mark();
    assert_eq!(repair_mounted(&volume.project()).unwrap(), Some(Repaired::default()));
    assert_eq!(repair_mounted(&volume.project()).unwrap(), None);
    assert_below_target(&volume, &file);
}

#[test]
fn an_agent_that_was_killed_has_lost_nothing() {
    let volume = Volume::new();
    volume.set_mark();
    create_below_target(&volume, &["debug/app"]);
    assert_eq!(repair_after_reboot(&volume.project()).unwrap(), None);
    // The mark of another boot, and one whose content was lost.
    for boot in ["7a4d8a4e-0b7e-4a38-a9f4-000000000000\n", ""] {
        let mark = volume.path("project/running");
        let since = mark.metadata().unwrap().modified().unwrap();
        fs::write(&mark, boot).unwrap();
        File::options().write(true).open(&mark).unwrap().set_modified(since).unwrap();
        let repaired = repair_after_reboot(&volume.project()).unwrap();
        assert_eq!(repaired, Some(Repaired { wholes: 0, files: 1 }), "{boot}");
        volume.set_mark();
        create_below_target(&volume, &["debug/app"]);
    }
}

#[test]
fn a_mark_follows_a_clock_that_is_set_back() {
    let volume = Volume::new();
    let now = Moment::coarse_now();
    let ahead = now.plus_seconds(HOUR);
    let mark = Mark::set(&volume.project(), ahead).unwrap();
    // As if it had been set while the clock was an hour ahead.
    let time = ahead.into();
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    let file = File::options().write(true).open(volume.path("project/running")).unwrap();
    rustix::fs::futimens(&file, &times).unwrap();
    assert_eq!(mark.since().unwrap(), ahead);
    mark.lower(ahead.plus_seconds(1)).unwrap();
    assert_eq!(mark.since().unwrap(), ahead);
    // Another run begins, or the clock is seen to be set, before anything is written.
    assert_eq!(Mark::set(&volume.project(), now).unwrap().since().unwrap(), now);
    mark.lower(now.plus_seconds(-HOUR)).unwrap();
    assert_eq!(mark.since().unwrap(), now.plus_seconds(-HOUR));
    create_below_target(&volume, &["debug/app"]);
    assert_eq!(repair_mounted(&volume.project()).unwrap(), Some(Repaired { wholes: 0, files: 1 }));
}

#[test]
fn the_mark_is_set_while_runs_write() {
    let volume = Volume::new();
    let mark = volume.path("project/running");
    let runs = Arc::new(WritingRuns::new(volume.project(), Duration::from_secs(3600)));
    let now = Moment::coarse_now();
    let (first, second) = (runs.begin(now).unwrap(), runs.begin(now).unwrap());
    drop(first);
    runs.settle();
    assert!(mark.exists(), "one run still writes");
    drop(second);
    assert!(mark.exists(), "its files may not be on the disk");
    runs.settle();
    assert!(!mark.exists());
    drop(runs.begin(now).unwrap());
    assert!(mark.exists());
    runs.clock_was_set(now.plus_seconds(-HOUR));
    let since = Mark::find(&volume.project()).unwrap().unwrap().since().unwrap();
    assert_eq!(since, now.plus_seconds(-HOUR));
}
