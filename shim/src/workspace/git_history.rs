//! Which commits a repository needs so that `git describe` says the same without the others.
//! Pure.
//!
//! It counts the commits that are not behind a tag. So these are needed, the tag, and the ways
//! from the tag to where they leave its history; beyond, the history is cut (git's `shallow`).

use std::collections::{BTreeSet, HashMap, HashSet};

/// The name of an object, in hexadecimal digits.
pub(super) type ObjectName = String;

/// The commits behind a commit, as far as they are known, with their parents.
#[derive(Debug, Default)]
pub(super) struct History(HashMap<ObjectName, Vec<ObjectName>>);

/// A part of a history.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Cut {
    /// The commits that it has.
    pub(super) commits: BTreeSet<ObjectName>,
    /// Those of them that are to be taken as commits without parents.
    pub(super) shallow: BTreeSet<ObjectName>,
}

impl History {
    /// Reads the output of `git rev-list --parents`.
    pub(super) fn parse(text: &str) -> Self {
        let commit = |line: &str| {
            let mut names = line.split_whitespace().map(ToOwned::to_owned);
            Some((names.next()?, names.collect()))
        };
        Self(text.lines().filter_map(commit).collect())
    }

    /// The number of commits.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// All commits.
    pub(super) fn all(&self) -> Cut {
        self.cut(self.0.keys().cloned().collect())
    }

    /// What is needed to describe `head` by each of these tagged commits.
    pub(super) fn to_tags(&self, head: &ObjectName, tagged: &[ObjectName]) -> Cut {
        let mut commits = BTreeSet::from([head.clone()]);
        for tag in tagged.iter().filter(|tag| self.0.contains_key(*tag)) {
            let behind = self.behind(tag);
            let newer: Vec<&ObjectName> =
                self.0.keys().filter(|commit| !behind.contains(*commit)).collect();
            let leaving: HashSet<&ObjectName> = newer
                .iter()
                .flat_map(|commit| &self.0[*commit])
                .filter(|parent| behind.contains(*parent))
                .collect();
            commits.extend(newer.into_iter().cloned());
            commits.extend(leaving.iter().map(|commit| (*commit).clone()));
            commits.extend(self.ways(tag, &leaving));
            commits.insert(tag.clone());
        }
        self.cut(commits)
    }

    /// The commit and those behind it.
    fn behind(&self, commit: &ObjectName) -> HashSet<ObjectName> {
        let mut found = HashSet::new();
        let mut open = vec![commit];
        while let Some(commit) = open.pop() {
            if found.insert(commit.clone()) {
                open.extend(self.0.get(commit).into_iter().flatten());
            }
        }
        found
    }

    /// The commits on the ways from a commit to others behind it.
    fn ways(&self, from: &ObjectName, to: &HashSet<&ObjectName>) -> Vec<ObjectName> {
        let behind = self.behind(from);
        let mut children: HashMap<&ObjectName, Vec<&ObjectName>> = HashMap::new();
        for commit in &behind {
            for parent in self.0.get(commit).into_iter().flatten() {
                children.entry(parent).or_default().push(commit);
            }
        }
        let mut found = HashSet::new();
        let mut open: Vec<&ObjectName> = to.iter().copied().collect();
        while let Some(commit) = open.pop() {
            if found.insert(commit.clone()) {
                open.extend(children.get(commit).into_iter().flatten());
            }
        }
        found.into_iter().collect()
    }

    /// The history of these commits alone. One of which only some parents are there gets the
    /// others as well.
    fn cut(&self, mut commits: BTreeSet<ObjectName>) -> Cut {
        let parents = |commit: &ObjectName| self.0.get(commit).map_or(&[][..], Vec::as_slice);
        let is_partial = |commit: &&ObjectName| {
            let there = parents(commit).iter().filter(|parent| commits.contains(*parent)).count();
            there > 0 && there < parents(commit).len()
        };
        let partial: Vec<&ObjectName> = commits.iter().filter(is_partial).collect();
        let missing: Vec<ObjectName> = partial.into_iter().flat_map(parents).cloned().collect();
        // What lies beyond the known commits is not there at all.
        commits.extend(missing.into_iter().filter(|commit| self.0.contains_key(commit)));
        let is_cut =
            |commit: &&ObjectName| parents(commit).iter().any(|parent| !commits.contains(parent));
        let shallow = commits.iter().filter(is_cut).cloned().collect();
        Cut { commits, shallow }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &str) -> BTreeSet<ObjectName> {
        names.split_whitespace().map(ToOwned::to_owned).collect()
    }

    #[test]
    fn a_linear_history_ends_at_the_tag() {
        let history = History::parse("e d\nd c\nc b\nb a\na\n");
        let cut = history.to_tags(&"e".into(), &["c".into()]);
        assert_eq!(cut, Cut { commits: names("c d e"), shallow: names("c") });
        let all = history.all();
        assert_eq!(all, Cut { commits: names("a b c d e"), shallow: names("") });
        let none = history.to_tags(&"e".into(), &[]);
        assert_eq!(none, Cut { commits: names("e"), shallow: names("e") });
    }

    /// `m` merges `s`, a branch from `b`, into what follows the tag `d`.
    #[test]
    fn a_branch_from_before_the_tag_is_not_counted_twice() {
        let history = History::parse("m e s\ne d\ns b\nd c\nc b\nb a\na\n");
        let cut = history.to_tags(&"m".into(), &["d".into()]);
        assert_eq!(cut, Cut { commits: names("m e s d c b"), shallow: names("b") });
    }

    #[test]
    fn other_parents_of_a_commit_on_the_way_are_kept() {
        let history = History::parse("m e s\ne d\ns b\nd c x\nc b\nx a\nb a\na\n");
        let cut = history.to_tags(&"m".into(), &["d".into()]);
        assert_eq!(cut, Cut { commits: names("m e s d c x b"), shallow: names("b x") });
    }
}
