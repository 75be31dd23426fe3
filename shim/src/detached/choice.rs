//! Which run `attach` shows. Pure.

use std::path::Path;

use super::record::{Run, RunState};
use crate::error::{Error, ErrorKind};

/// Chooses a run: the one that is named; else the only one that runs, here before elsewhere;
/// else the newest of this workspace whose end was not shown yet. `directory` is the working
/// directory.
pub(super) fn choose<'r>(
    runs: &'r [Run],
    named: Option<u32>,
    directory: &Path,
) -> Result<&'r Run, Error> {
    if let Some(number) = named {
        return runs.iter().find(|run| run.number == number).ok_or_else(|| unknown(number));
    }
    let is_here = |run: &&Run| directory.starts_with(&run.started.workspace);
    let running: Vec<&Run> = runs.iter().filter(|run| run.state == RunState::Running).collect();
    let running_here: Vec<&Run> = running.iter().copied().filter(is_here).collect();
    match (running.as_slice(), running_here.as_slice()) {
        ([one], _) | (_, [one]) => Ok(one),
        ([], _) => {
            let unseen = runs.iter().filter(is_here).filter(|run| !run.is_shown);
            unseen.max_by_key(|run| run.number).ok_or_else(none)
        }
        (several, _) => Err(ambiguous(several)),
    }
}

fn unknown(number: u32) -> Error {
    Error::new(
        ErrorKind::Usage,
        format!("there is no detached run {number}"),
        "`cargo burst status` lists them; those that have ended are kept for a week, the last 20",
    )
}

fn none() -> Error {
    Error::new(
        ErrorKind::Usage,
        "no detached run is running, and the end of each one of this workspace was shown",
        "`cargo burst --detach VERB` starts one, `cargo burst attach NUMBER` shows an earlier one; \
         what was started without `--detach` stays in its terminal",
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
        Run {
            number,
            started: Started { title, workspace, at: 1, terminal: None },
            state,
            is_shown,
        }
    }

    fn chosen(runs: &[Run], named: Option<u32>) -> Result<u32, String> {
        choose(runs, named, Path::new("/w/a/src"))
            .map(|run| run.number)
            .map_err(|error| error.one_line())
    }

    #[test]
    fn the_run_that_is_meant_is_chosen() {
        let (here, there) = ("/w/a", "/w/b");
        let mut runs = vec![
            run(1, here, ENDED, false),
            run(2, here, RunState::Lost, false),
            run(3, here, ENDED, true),
            run(4, there, ENDED, false),
        ];
        assert_eq!(chosen(&runs, None), Ok(2));
        assert_eq!(chosen(&runs, Some(4)), Ok(4));
        assert_eq!(chosen(&runs, Some(5)), Err("there is no detached run 5".into()));
        runs.push(run(5, there, RunState::Running, false));
        assert_eq!(chosen(&runs, None), Ok(5));
        runs.push(run(6, here, RunState::Running, false));
        assert_eq!(chosen(&runs, None), Ok(6));
        runs.push(run(7, here, RunState::Running, false));
        let several = "several detached runs are running: `cargo burst attach 5` shows `cargo 5` \
                       of /w/b: `cargo burst attach 6` shows `cargo 6` of /w/a: `cargo burst \
                       attach 7` shows `cargo 7` of /w/a";
        assert_eq!(chosen(&runs, None), Err(several.into()));
        let nothing = "no detached run is running, and the end of each one of this workspace was \
                       shown";
        assert_eq!(chosen(&runs[2..4], None), Err(nothing.into()));
    }
}
