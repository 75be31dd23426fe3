//! Which locks of cargo a download takes, before it removes a fingerprint.

use std::collections::BTreeSet;

use burst_protocol::message::Artifact;
use burst_sync::stat_cache::StatCache;

use super::Download;
use crate::transfer::cargo_lock::CargoLocks;
use crate::transfer::held_target::held_artifact;
use crate::transfer::held_units::HeldUnits;
use crate::transfer::whole_target::Wanted;

impl Download<'_> {
    /// Keeps a cargo here from building in the profiles of units of which something is replaced,
    /// until the end of the download. Blocks while one does, which `waits` is told of.
    pub(crate) fn lock_cargo(
        &mut self,
        artifacts: &[Artifact],
        whole: Option<&Wanted>,
        cache: &mut StatCache,
        waits: &dyn Fn(&str),
    ) {
        let mut locked = BTreeSet::new();
        loop {
            let profiles = match whole {
                Some(whole) => self.find_whole(whole, cache),
                None => self.profiles_of(artifacts, cache),
            };
            let Some(target) = &self.results.target else { return };
            if profiles.is_subset(&locked) {
                return;
            }
            locked.extend(profiles);
            // Those that are held already would be held while others are waited for.
            self.locks = None;
            self.locks = Some(CargoLocks::take(target.root(), &locked, waits));
            // A cargo may have built meanwhile.
            self.held_units = HeldUnits::default();
        }
    }

    /// The profiles of the units that artifacts belong to which differ from what is here. What is
    /// named counts as different: the cache keeps the digest of what was fetched of it.
    fn profiles_of(&mut self, artifacts: &[Artifact], cache: &mut StatCache) -> BTreeSet<Vec<u8>> {
        let Some(target) = &self.results.target else { return BTreeSet::new() };
        let differ = artifacts.iter().filter(|Artifact { path, file }| {
            (self.receiving.is_named)(path)
                || held_artifact(target.root(), path, cache).as_ref() != Some(file)
        });
        let units =
            differ.flat_map(|artifact| self.held_units.units_of(target.root(), &artifact.path));
        units.map(|unit| unit.profile).collect()
    }
}
