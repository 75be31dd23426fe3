//! Which run `attach` shows. Pure.

use std::path::Path;

use super::record::{Run, RunState};
use super::runs::{Found, Unreadable};
use crate::error::{Error, ErrorKind};

/// The command that lists all runs that are kept.
const LISTING: &str = "`cargo burst status --json` lists those that are kept";

/// Chooses a run: the one that is named; else the only one of this workspace that runs; else the
/// newest of this workspace whose end was not shown yet; else the only one that runs elsewhere.
/// `directory` is the working directory.
pub(super) fn choose<'r>(
    found: &'r Found,
    named: Option<u32>,
    directory: &Path,
) -> Result<&'r Run, Error> {
    if let Some(number) = named {
        let run = found.runs.iter().find(|run| run.number == number);
        let unreadable = || found.unreadable.iter().find(|other| other.number == number);
        return run.ok_or_else(|| unreadable().map_or_else(|| unknown(number), is_unreadable));
    }
    let is_here = |run: &&Run| directory.starts_with(&run.started.workspace);
    let running = found.runs.iter().filter(|run| run.state == RunState::Running);
    let (here, elsewhere): (Vec<&Run>, Vec<&Run>) = running.partition(is_here);
    match here.as_slice() {
        [one] => return Ok(one),
        [] => {}
        several => return Err(ambiguous(several)),
    }
    let unseen = found.runs.iter().filter(is_here).filter(|run| !run.is_shown);
    match (unseen.max_by_key(|run| run.number), elsewhere.as_slice()) {
        (Some(run), _) => Ok(run),
        (None, [run]) => Ok(*run),
        (None, []) if found.runs.iter().any(|run| is_here(&run)) => Err(all_shown()),
        (None, []) => Err(none()),
        (None, several) => Err(ambiguous(several)),
    }
}

fn unknown(number: u32) -> Error {
    Error::new(ErrorKind::Usage, format!("there is no detached run {number}"), LISTING)
}

/// The error of a record that cannot be read.
fn is_unreadable(record: &Unreadable) -> Error {
    let Unreadable { number, path, why } = record;
    Error::new(
        ErrorKind::State,
        format!("the record of detached run {number} cannot be read"),
        format!(
            "it is kept in `{}`: read it with the version that wrote it, or delete it",
            path.display()
        ),
    )
    .cause(why)
}

fn all_shown() -> Error {
    Error::new(
        ErrorKind::Usage,
        "no detached run is running, and the end of each one of this workspace was shown",
        "`cargo burst --detach VERB` starts one, `cargo burst attach NUMBER` shows an earlier one; \
         what was started without `--detach` stays in its terminal",
    )
}

fn none() -> Error {
    Error::new(
        ErrorKind::Usage,
        "no detached run is running, and none was started in a workspace of this directory",
        format!(
            "`cargo burst attach NUMBER` shows one of another workspace, {LISTING}; `cargo burst \
             --detach VERB` starts one"
        ),
    )
}

fn ambiguous(running: &[&Run]) -> Error {
    let error = Error::new(
        ErrorKind::Usage,
        "several detached runs are running",
        "name one of them by its number",
    );
    running.iter().fold(error, |error, run| {
        let Run { number, started, .. } = run;
        let workspace = started.workspace.display();
        error.cause(format!(
            "`cargo burst attach {number}` shows `{}` of {workspace}",
            started.title
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::super::record::{Ended, How, Started};
    use super::*;

    const ENDED: RunState = RunState::Ended(Ended { at: 9, how: How::Code(0), unrecorded: 0 });

    fn run(number: u32, workspace: &str, state: RunState, is_shown: bool) -> Run {
        let title = format!("cargo {number}");
        let workspace = workspace.into();
        let started = Started { title, workspace, at: 1, terminal: None, one_output: false };
        Run { number, started, state, waits_for: None, is_shown }
    }

    fn chosen(runs: &[Run], named: Option<u32>) -> Result<u32, String> {
        let unreadable = vec![Unreadable { number: 90, path: "/x".into(), why: "why".into() }];
        let found = Found { runs: runs.to_vec(), unreadable, ..Found::default() };
        choose(&found, named, Path::new("/w/a/src"))
            .map(|run| run.number)
            .map_err(|error| error.one_line())
    }

    #[test]
    fn the_run_that_is_meant_is_chosen() {
        let (here, there) = ("/w/a", "/w/b");
        let unseen = [
            run(1, here, ENDED, false),
            run(2, here, RunState::Lost, false),
            run(3, here, ENDED, true),
            run(4, there, ENDED, false),
        ];
        assert_eq!(chosen(&unseen, None), Ok(2));
        assert_eq!(chosen(&unseen, Some(4)), Ok(4));
        assert_eq!(chosen(&unseen, Some(5)), Err("there is no detached run 5".into()));
        let unreadable = "the record of detached run 90 cannot be read: why";
        assert_eq!(chosen(&unseen, Some(90)), Err(unreadable.into()));
        let elsewhere = run(5, there, RunState::Running, false);
        let also_elsewhere = run(6, "/w/c", RunState::Running, false);
        let mut runs = [&unseen[..], &[elsewhere]].concat();
        assert_eq!(chosen(&runs, None), Ok(2));
        assert_eq!(chosen(&runs[2..], None), Ok(5));
        runs.push(also_elsewhere);
        let several = "several detached runs are running: `cargo burst attach 5` shows `cargo 5` \
                       of /w/b: `cargo burst attach 6` shows `cargo 6` of /w/c";
        assert_eq!(chosen(&runs[2..], None), Err(several.into()));
        runs.push(run(7, here, RunState::Running, false));
        assert_eq!(chosen(&runs, None), Ok(7));
        runs.push(run(8, here, RunState::Running, false));
        let several = "several detached runs are running: `cargo burst attach 7` shows `cargo 7` \
                       of /w/a: `cargo burst attach 8` shows `cargo 8` of /w/a";
        assert_eq!(chosen(&runs, None), Err(several.into()));
        let shown = "no detached run is running, and the end of each one of this workspace was \
                     shown";
        assert_eq!(chosen(&runs[2..4], None), Err(shown.into()));
        let none = "no detached run is running, and none was started in a workspace of this \
                    directory";
        assert_eq!(chosen(&runs[3..4], None), Err(none.into()));
    }
}
