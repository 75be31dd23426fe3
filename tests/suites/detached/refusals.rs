//! What `attach` and `--detach` do not take.

use burst_tests::{Ended, assert_explained, ended};

use super::record;
use crate::sandbox;
use crate::terminals::keyboard::project;

#[test]
fn what_attach_does_not_take_is_explained() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let refused = |arguments: &str| project.burst(arguments);
    for option in ["-q", "--verbose"] {
        assert_explained(
            &refused(&format!("attach {option}")),
            2,
            &format!(
                "error: unexpected argument `{option}` behind `attach`\n\
                 hint: it stands before the verb: `cargo burst {option} attach`"
            ),
        );
    }
    let json = refused("attach --json 99");
    let document: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(document["error"]["message"], "unexpected argument `--json` behind `attach`");
    assert_explained(
        &json,
        2,
        "error: unexpected argument `--json` behind `attach`\n\
         hint: `cargo burst status --json` tells how detached runs have ended",
    );
    let wrong = refused("attach abc");
    let expected = "error: invalid value 'abc' for '[NUMBER]': it is no number of a run; `cargo burst \
                    status --json` lists them";
    assert_eq!((wrong.code, wrong.stderr.lines().next()), (Some(2), Some(expected)));
}

#[test]
fn what_cannot_be_detached_is_refused_at_once() {
    let sandbox = sandbox();
    let project = project(&sandbox);
    let refused = |arguments: &str| project.burst(arguments);
    assert_explained(
        &refused("--detach fmt"),
        2,
        "error: `fmt` takes none of the options of cargo verbs\n\
         hint: it runs on this machine and cannot be detached: `cargo burst fmt`, with `&` behind it \
         in a shell to go on meanwhile",
    );
    let nothing = refused("--detach");
    assert_eq!(nothing.stdout, "");
    assert_explained(
        &nothing,
        2,
        "error: `--detach` stands before a verb, and there is none\n\
         hint: usage: `cargo burst --detach VERB`; `cargo burst help` lists the verbs",
    );
    assert_explained(
        &ended(sandbox.burst_command(sandbox.path(), "attach").output().unwrap()),
        2,
        "error: no detached run is running, and none was started in a workspace of this directory\n\
         hint: `cargo burst attach NUMBER` shows one of another workspace, `cargo burst status --json` \
         lists those that are kept; `cargo burst --detach VERB` starts one",
    );
    assert_explained(
        &refused("--detach status"),
        2,
        "error: `status` takes none of the options of cargo verbs\n\
         hint: `cargo burst help status` shows its options",
    );
    let mut inside = project.command("--detach build");
    assert_explained(
        &ended(inside.env("CARGO_BURST_INSIDE", "1").output().unwrap()),
        2,
        "error: `--detach` is not available inside a run\n\
         hint: detach the whole run on the machine that starts it, or use `&` in a shell",
    );
    let mut wrong = project.command("--detach build");
    let wrong: Ended = ended(wrong.env("CARGO_BURST_KEEP_ALIVE_SECS", "x").output().unwrap());
    assert_eq!(wrong.code, Some(111), "{wrong:?}");
    let nowhere = ended(sandbox.burst_command(sandbox.path(), "--detach build").output().unwrap());
    assert_eq!(nowhere.code, Some(101), "{nowhere:?}");
    assert!(!record(&sandbox, "1").exists());
    assert_explained(
        &refused("attach 7"),
        2,
        "error: there is no detached run 7\n\
         hint: `cargo burst status --json` lists those that are kept",
    );
}
