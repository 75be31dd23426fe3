//! Disks and limits that leave no room for output.

use std::process::Command;

use burst_tests::{carry_over, ended, is_root, lacks, skip};

use super::detaching;
use crate::sandbox;
use crate::terminals::keyboard::project;

/// What the transcript cannot hold is counted, and the exit code is not lost.
#[test]
fn a_full_disk_loses_output_alone() {
    if lacks(&["unshare"]) {
        return;
    }
    if !is_root() {
        return skip("needs root, to mount a small disk");
    }
    let sandbox = sandbox();
    let project = project(&sandbox);
    project.ok("run -q -- true");
    let runs = sandbox.path().join("state/cargo-burst/runs");
    std::fs::create_dir_all(&runs).unwrap();
    let script = "yes 0123456789 | head -c 3000000; exit 9";
    let inner = detaching(&project, "", script);
    let mut outer = Command::new("unshare");
    // Seen by these processes alone; the disk ends with them.
    outer.args([
        "--mount",
        "sh",
        "-c",
        "mount -t tmpfs -o size=1m none \"$1\" && shift && id=$(\"$@\") && exec \"$1\" burst attach $id",
        "sh",
    ]);
    outer.arg(&runs).arg(inner.get_program());
    carry_over(&mut outer, &inner);
    let shown = ended(outer.output().unwrap());
    assert_eq!(shown.code, Some(9), "{}", shown.stderr);
    assert!(shown.stdout.starts_with("0123456789\n"));
    assert!(shown.stderr.contains(" of the output could not be recorded"), "{}", shown.stderr);
}

/// A limit of the size of files is no end of the holder.
#[test]
fn a_limit_of_file_sizes_loses_output_alone() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    project.ok("run -q -- true");
    let script = "yes 0123456789 | head -c 3000000; exit 9";
    let inner = detaching(&project, "", script);
    let mut outer = Command::new("bash");
    // In units of 1024 bytes.
    outer.args(["-c", "ulimit -f 1000 && id=$(\"$@\") && exec \"$1\" burst attach $id", "bash"]);
    outer.arg(inner.get_program());
    carry_over(&mut outer, &inner);
    let shown = ended(outer.output().unwrap());
    assert_eq!(shown.code, Some(9), "{}", shown.stderr);
    assert!(shown.stderr.contains(" of the output could not be recorded"), "{}", shown.stderr);
}
