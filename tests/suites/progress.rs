//! What a command says of a step that takes long: how far it is, and of how much.

use std::io::{BufRead, BufReader};
use std::process::Child;

use crate::results::{RUN, returning_late};
use crate::sandbox;
use crate::scripted::Scripted;

/// The first line of a command on standard error that begins so.
fn first_line(command: &mut Child, beginning: &str) -> String {
    let stderr = BufReader::new(command.stderr.take().unwrap());
    let mut lines = stderr.lines().map(Result::unwrap);
    lines.find(|line| line.starts_with(beginning)).expect("such a line")
}

#[test]
fn a_download_that_waits_for_the_agent_says_what_has_come() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write("data", "sent");
    let (says, go_on) = returning_late(&project, "data");
    let _agent = Scripted::start(&sandbox, says, true);
    let mut command = project.start("check");
    assert_eq!(
        first_line(&mut command, "burst: fetching"),
        format!("burst: fetching results: 0 of 1 file, 0 B of {} B", RUN.len())
    );
    go_on.notify_one();
    assert_eq!(command.wait().unwrap().code(), Some(0));
    assert_eq!(project.read("data"), RUN);
}
