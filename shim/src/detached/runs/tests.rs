//! Records in directories of their own.

use std::os::unix::fs::PermissionsExt;

use super::super::record::{Ended, How, RunState, STARTED, Started};
use super::*;

fn started() -> Started {
    let (title, workspace) = ("cargo x".into(), PathBuf::from("/w"));
    Started { title, workspace, at: 5, terminal: None, one_output: true }
}

#[test]
fn states_follow_the_lock_and_the_end() {
    let state = tempfile::tempdir().unwrap();
    let runs = Runs::below(state.path());
    let list = || runs.list().unwrap().runs;
    assert_eq!(list(), []);
    let lock = runs.lock().unwrap();
    let (number, directory) = runs.create().unwrap();
    drop(lock);
    assert_eq!((number, list().len()), (1, 0));
    directory.write_started(&started()).unwrap();
    let found =
        |state, is_shown| Run { number: 1, started: started(), state, waits_for: None, is_shown };
    assert_eq!(list(), [found(RunState::Lost, false)]);
    let holder = lock::try_take(&directory.lock()).unwrap().unwrap();
    assert_eq!(list(), [found(RunState::Running, false)]);
    let ended = Ended { at: 6, how: How::Signal(2), unrecorded: 0 };
    directory.write_ended(&ended).unwrap();
    assert_eq!(list(), [found(RunState::Ended(ended), false)]);
    drop(holder);
    directory.note_shown();
    assert_eq!(list(), [found(RunState::Ended(ended), true)]);
    let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(state.path().join("runs/1")), 0o700);
    assert_eq!(mode(state.path().join("runs/1/ended.json")), 0o600);
}

#[test]
fn a_number_is_given_once() {
    let state = tempfile::tempdir().unwrap();
    let runs = Runs::below(state.path());
    let _lock = runs.lock().unwrap();
    let (_, first) = runs.create().unwrap();
    std::fs::remove_dir(first.path()).unwrap();
    assert_eq!(runs.create().unwrap().0, 2);
    std::fs::write(state.path().join("runs/last"), "nonsense").unwrap();
    assert_eq!(runs.create().unwrap().0, 3);
    std::fs::write(state.path().join("runs/last"), "4294967295").unwrap();
    assert_eq!(runs.create().unwrap().0, 1);
    assert_eq!(runs.create().unwrap().0, 4);
}

#[test]
fn behind_the_last_number_free_ones_are_given() {
    let taken = |numbers: &[u32]| numbers.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(next_number(None, &taken(&[])), 1);
    assert_eq!(next_number(Some(4), &taken(&[7])), 8);
    assert_eq!(next_number(Some(u32::MAX), &taken(&[1, 3])), 2);
    assert_eq!(next_number(Some(5), &taken(&[u32::MAX])), 1);
}

/// Whatever stands in the place of a file is told at once, and the end that it hides is not
/// invented.
#[test]
fn a_record_that_cannot_be_read_is_no_run_and_an_end_no_loss() {
    let state = tempfile::tempdir().unwrap();
    let runs = Runs::below(state.path());
    let _lock = runs.lock().unwrap();
    let (_, directory) = runs.create().unwrap();
    directory.write_started(&started()).unwrap();
    let end = directory.path().join("ended.json");
    std::fs::write(&end, "{\"version\":1,\"at\":5").unwrap();
    assert_eq!(directory.state().unwrap(), RunState::EndUnknown);
    std::fs::remove_file(&end).unwrap();
    let fifo = |path: &Path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for name in ["ended.json", "lock", "waits", "shown"] {
        fifo(&directory.path().join(name));
    }
    assert_eq!(directory.state().unwrap(), RunState::EndUnknown);
    directory.note_shown();
    assert!(runs.list().unwrap().runs[0].is_shown);
    let path = directory.path().to_owned();
    std::fs::remove_file(path.join(STARTED)).unwrap();
    fifo(&path.join(STARTED));
    let why = "`run.json`: it is no regular file".to_owned();
    let unreadable = vec![Unreadable { number: 1, path, why }];
    assert_eq!(runs.list().unwrap(), Found { unreadable, ..Found::default() });
    fifo(&state.path().join("runs/2"));
    std::fs::remove_file(state.path().join("runs/last")).unwrap();
    fifo(&state.path().join("runs/last"));
    assert_eq!(runs.create().unwrap().0, 3);
}

#[test]
fn who_keeps_the_lock_is_named() {
    let state = tempfile::tempdir().unwrap();
    let runs = Runs::below(state.path());
    let _lock = runs.lock().unwrap();
    let error = runs.lock_within(Duration::from_millis(1)).unwrap_err();
    let process = std::process::id();
    let name = std::fs::read_to_string("/proc/self/comm").unwrap();
    let holder = format!("process {process} (`{}`)", name.trim());
    assert_eq!(error.to_string(), format!("{holder} keeps the records of detached runs locked"));
    assert_eq!(error.hint(), format!("wait until it ends, or end it: `kill {process}`"));
}
