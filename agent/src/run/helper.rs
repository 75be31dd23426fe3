//! The command lines of the run's helper programs, supervisor and init, which are this
//! very program under other first arguments.

use std::os::unix::process::CommandExt;
use std::process::Command;

use super::containment::Containment;

/// The first argument that makes this program a supervisor.
pub(crate) const SUPERVISOR: &str = "run-supervisor";

/// The first argument that makes this program an init.
pub(crate) const INIT: &str = "run-init";

/// The argument that only asks whether the containment works here.
const PROBE: &str = "--probe";

/// The rest of a helper's command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// How the run is contained.
    pub(crate) containment: Containment,
    /// The number of the run, for the log; none if only the containment is tried.
    pub(crate) run: Option<u64>,
}

impl Assignment {
    /// Reads the arguments behind the first one.
    pub(crate) fn parse(arguments: &[String]) -> Option<Self> {
        let [containment, run] = arguments else { return None };
        let run = match run.as_str() {
            PROBE => None,
            number => Some(number.parse().ok()?),
        };
        Some(Self { containment: Containment::from_name(containment)?, run })
    }

    /// The command that starts a helper with this assignment.
    pub(crate) fn command(self, helper: &str) -> Command {
        let run = self.run.map_or_else(|| PROBE.to_owned(), |run| run.to_string());
        let mut command = Command::new("/proc/self/exe");
        command.arg0("burst-agent").args([helper, self.containment.name(), &run]);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_read_as_they_are_passed() {
        for run in [None, Some(7)] {
            let assignment = Assignment { containment: Containment::User, run };
            let command = assignment.command(INIT);
            let arguments: Vec<String> =
                command.get_args().map(|text| text.to_str().unwrap().to_owned()).collect();
            assert_eq!(arguments[0], INIT);
            assert_eq!(Assignment::parse(&arguments[1..]), Some(assignment));
        }
        for wrong in [&["user"][..], &["other", "1"], &["user", "x"], &["user", "1", "2"]] {
            let wrong: Vec<String> = wrong.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(Assignment::parse(&wrong), None);
        }
    }
}
