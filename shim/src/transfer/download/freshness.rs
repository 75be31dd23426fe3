//! Which of cargo's fingerprints may stay or come while outputs are replaced.
//!
//! Invariants: an output is replaced only after the fingerprints here that vouch for it are gone,
//! so that a command which is killed, or a disk that is full, leaves nothing that counts as fresh.
//! With a whole target directory the fingerprints of units go that are here alone and depend on
//! what is replaced. The fingerprint by which cargo decides first, the seal, is written after all
//! that it vouches for, and not at all if the unit has inputs that are here and were not sent.

use std::collections::BTreeSet;
use std::path::Path;

use burst_protocol::RelativePath;
use burst_sync::SyncError;
use burst_sync::fingerprint::{Unit, is_script_output, is_seal, unit_of};

use super::{Download, Receiving};
use crate::transfer::held_units::HeldUnits;
use crate::transfer::unsent_inputs::Inputs;
use crate::workspace::sources::below_root;

/// The longest list of inputs that is read, in bytes. A longer one counts as one with inputs that
/// were not sent.
const LIST_BYTES_MAX: u64 = 64 << 20;

impl Download<'_> {
    /// Removes the fingerprints here of the units to which a file belongs that is about to be
    /// replaced: cargo compiles them again, and what depends on them.
    pub(super) fn unseal(&mut self, replaced: &RelativePath) -> Result<(), SyncError> {
        let Some(target) = &self.results.target else { return Ok(()) };
        let units = self.held_units.units_of(target.root(), replaced).into_iter().collect();
        self.held_units.remove(target.root(), &units)
    }

    /// Writes the fingerprints that have arrived, in the order of the invariants.
    pub(super) fn seal(&mut self) -> Result<(), SyncError> {
        self.results.finish_waiting(&|path| !is_seal(path))?;
        self.redate()?;
        let lacking = self.lacking_units();
        let is_lacking =
            |path: &RelativePath| unit_of(path).is_some_and(|unit| lacking.contains(&unit));
        if let Some(target) = &self.results.target {
            // As they are now, with what was written.
            HeldUnits::default().remove(target.root(), &lacking)?;
        }
        self.results.finish_waiting(&|path| !is_lacking(path))?;
        self.results.drop_waiting();
        Ok(())
    }

    /// The units of the whole target directory that have inputs which are here and were not sent.
    fn lacking_units(&self) -> BTreeSet<Unit> {
        let Some(target) = &self.results.target else { return BTreeSet::new() };
        let Receiving { sources, packages, .. } = &self.receiving;
        let is_sent =
            |path: &Path| below_root(path).is_ok_and(|place| sources.tree.file(&place).is_some());
        let mut inputs = Inputs::new(packages, &is_sent);
        let mut lacking = BTreeSet::new();
        for path in &self.input_lists {
            let lacks = match target.root().read(path, LIST_BYTES_MAX) {
                Ok(list) if is_script_output(path) => inputs.lack_of_script(&list),
                Ok(list) => inputs.lack_of_compiler(&list),
                Err(_) => true,
            };
            if lacks {
                lacking.extend(unit_of(path));
            }
        }
        lacking
    }
}
