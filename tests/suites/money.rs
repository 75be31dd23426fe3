//! Questions about money: limits of what a server may cost, and the answers to them.

use burst_tests::assert_explained;
use hetzner_sim::Scenario;
use hetzner_sim::simulator::lock;

use crate::hetzner::{cloud, logs, sandbox_on};
use crate::terminals::desk::Desk;

#[test]
fn a_server_beyond_the_budget_is_asked_about_and_yes_is_the_answer_in_advance() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator).with("CARGO_BURST_MONTHLY_BUDGET", "0.03");
    let project = sandbox.hello("app");
    let servers = || lock(&simulator.shared().world).servers.len();
    let question = "a cx53 in hel1 costs EUR 0.05 per started hour; `monthly_budget` is EUR 0.03, \
                    of which EUR 0.00 are spent. Create it anyway? [y/N] ";
    // Enter alone is no.
    let mut desk = Desk::start(&project.command("-q sync"));
    desk.find(question);
    desk.type_in("\r");
    desk.find("error: ");
    assert_eq!(desk.leave().code(), Some(118));
    assert_eq!(servers(), 0);
    let mut desk = Desk::start(&project.command("-q sync"));
    desk.find(question);
    desk.type_in("y\r");
    let status = desk.leave();
    assert!(status.success(), "{}\n{}", desk.rest(), logs(&simulator, &sandbox));
    assert_eq!(servers(), 1);
    // The one that exists costs nothing more.
    assert_eq!(project.ok("-q sync").stderr, "");
    project.ok("down");
    // Without a terminal it is refused, now with what the first one has cost.
    let refused = project.burst("sync");
    assert_explained(
        &refused,
        118,
        "error: a cx53 in hel1 costs EUR 0.05 per started hour\n\
         caused by: the limit is EUR 0.00\n\
         caused by: `monthly_budget` is EUR 0.03, of which EUR 0.05 are spent\n\
         hint: raise `--max-cost` or `monthly_budget`, or set a cheaper `server_type`; `--yes` \
         creates it all the same\n",
    );
    assert_eq!(servers(), 0);
    let created = project.ok("sync --yes --max-cost 0.01");
    let told = "burst: a cx53 in hel1 costs EUR 0.05 per started hour; `--max-cost` is EUR 0.01; \
                `monthly_budget` is EUR 0.03, of which EUR 0.05 are spent: it is created, since \
                `--yes` is given\n";
    assert!(created.stderr.contains(told), "{}", created.stderr);
    assert_eq!(servers(), 1);
}

#[test]
fn a_volume_for_a_server_that_exists_is_asked_about_beyond_the_budget() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let volumes = || lock(&simulator.shared().world).volumes.len();
    sandbox.hello("app").ok("-q sync");
    assert_eq!(volumes(), 1);
    // The server has used it up; the project that has a volume costs nothing more.
    let sandbox = sandbox.with("CARGO_BURST_MONTHLY_BUDGET", "0.03");
    sandbox.hello("app").ok("-q sync");
    let other = sandbox.hello("other");
    let refused = other.burst("sync");
    assert_eq!(refused.code, Some(118), "{refused:?}");
    assert!(refused.stderr.contains("error: a volume of 10 GB costs EUR "), "{refused:?}");
    assert_eq!(volumes(), 1);
    other.ok("-q sync --yes");
    assert_eq!(volumes(), 2);
}
