//! What has changed since a mark, and its removal.

use std::fmt;
use std::io;

use burst_sync::clock::Moment;

use super::directory::{Directory, Entry};

/// What a repair has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Repaired {
    /// Units, sessions, packages and other things that are removed as a whole.
    pub(crate) wholes: usize,
    /// Files that stand for themselves.
    pub(crate) files: usize,
}

impl fmt::Display for Repaired {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wholes, files } = self;
        write!(
            formatter,
            "removed {wholes} units of work and {files} files that it may have damaged"
        )
    }
}

/// Finds and removes what has changed since a moment.
#[derive(Debug)]
pub(super) struct Suspects {
    since: Moment,
    removed: Repaired,
}

impl Suspects {
    /// Everything that has changed at this moment or later. A tick of the clock can be part
    /// of the run and of the time before.
    pub(super) fn new(since: Moment) -> Self {
        Self { since, removed: Repaired::default() }
    }

    /// What has been removed so far.
    pub(super) const fn removed(&self) -> Repaired {
        self.removed
    }

    /// Whether an entry, or anything below it, has changed. A directory changes when an
    /// entry is made, renamed or removed.
    pub(super) fn has_changed(&self, parent: &Directory, entry: &Entry) -> io::Result<bool> {
        if entry.changed() >= self.since {
            return Ok(true);
        }
        let Some(directory) = parent.below(entry)? else { return Ok(false) };
        for entry in directory.entries()? {
            if self.has_changed(&directory, &entry)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes an entry, with everything below it, if any of it has changed.
    pub(super) fn remove_whole(&mut self, parent: &Directory, entry: &Entry) -> io::Result<()> {
        if self.has_changed(parent, entry)? {
            self.remove_parts([(parent, entry)])?;
        }
        Ok(())
    }

    /// Removes entries that belong together.
    pub(super) fn remove_parts<'a>(
        &mut self,
        parts: impl IntoIterator<Item = (&'a Directory, &'a Entry)>,
    ) -> io::Result<()> {
        parts.into_iter().try_for_each(|(parent, entry)| parent.remove(entry))?;
        self.removed.wholes += 1;
        Ok(())
    }

    /// Removes an entry that is no directory, if it has changed.
    pub(super) fn remove_file(&mut self, parent: &Directory, entry: &Entry) -> io::Result<()> {
        if !entry.is_directory() && entry.changed() >= self.since {
            parent.remove(entry)?;
            self.removed.files += 1;
        }
        Ok(())
    }

    /// Removes all files below a directory that have changed.
    pub(super) fn remove_files(&mut self, directory: &Directory) -> io::Result<()> {
        for entry in directory.entries()? {
            match directory.below(&entry)? {
                Some(below) => self.remove_files(&below)?,
                None => self.remove_file(directory, &entry)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Repaired;

    #[test]
    fn a_repair_tells_what_it_has_removed() {
        let expected = "removed 3 units of work and 4 files that it may have damaged";
        assert_eq!(Repaired { wholes: 3, files: 4 }.to_string(), expected);
    }
}
