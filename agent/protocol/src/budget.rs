//! The sum of what a peer describes in messages that it can repeat: trees and lists of files.
//!
//! Every message has a cap; this caps their number. Both ends check the same sums, so a
//! correct writer never sends what the reader rejects. Pure arithmetic: the memory behind it
//! is the caller's.

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use crate::limit::{DIRECTORY_COST, LISTED_PATH_BYTES_MAX, TREE_COST_MAX};
use crate::path::RelativePath;

/// A peer describes more than the caps of [`limit`](crate::limit) allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many files: their number or the length of their paths exceeds the limit")]
pub struct TooMany;

/// The files that a peer has described so far.
#[derive(Debug, Default)]
pub struct Budget {
    cost: usize,
    path_bytes: usize,
    /// The path of the last change.
    last: Option<RelativePath>,
}

impl Budget {
    /// Counts a change of a tree. A directory that the path does not share with the path
    /// before may have to be created, so it counts; changes in the order of a tree name each
    /// directory once.
    pub fn change(&mut self, path: &RelativePath) -> Result<(), TooMany> {
        let shared = self.last.as_ref().map_or(0, |last| {
            last.names().zip(path.names()).take_while(|(left, right)| left == right).count()
        });
        let directories = path.names().count().saturating_sub(shared + 1);
        self.last = Some(path.clone());
        self.add(path, 1 + directories * DIRECTORY_COST)
    }

    /// Counts a file in a list, which creates nothing but itself.
    pub fn file(&mut self, path: &RelativePath) -> Result<(), TooMany> {
        self.add(path, 1)
    }

    fn add(&mut self, path: &RelativePath, cost: usize) -> Result<(), TooMany> {
        self.cost = self.cost.saturating_add(cost);
        self.path_bytes = self.path_bytes.saturating_add(path.as_bytes().len());
        match self.cost <= TREE_COST_MAX && self.path_bytes <= LISTED_PATH_BYTES_MAX {
            true => Ok(()),
            false => Err(TooMany),
        }
    }
}

/// Decodes a list of at most `MAX` elements. A small message can hold millions of elements,
/// each larger in memory than on the wire.
pub(crate) fn capped_list<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_seq(CappedList::<T, MAX>(std::marker::PhantomData))
}

struct CappedList<T, const MAX: usize>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for CappedList<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "a list of at most {MAX} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            if list.len() == MAX {
                return Err(Error::custom(format_args!("a list has more than {MAX} elements")));
            }
            list.push(element);
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{CodecError, decode, encode};
    use crate::limit::{CHANGES_PER_MESSAGE_MAX, PATH_BYTES_MAX};
    use crate::message::FromAgent;
    use crate::tree::Change;

    fn path(text: &str) -> RelativePath {
        RelativePath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_directory_counts_once_where_paths_are_in_order() {
        let mut budget = Budget::default();
        for path in ["a/b/one", "a/b/two", "a/c", "d"].map(path) {
            budget.change(&path).unwrap();
        }
        assert_eq!(budget.cost, 4 + 2 * DIRECTORY_COST);
        budget.file(&path("x/y/z")).unwrap();
        assert_eq!(budget.cost, 5 + 2 * DIRECTORY_COST);
        assert_eq!(budget.path_bytes, 7 + 7 + 3 + 1 + 5);
    }

    #[test]
    fn the_number_and_the_length_of_paths_are_capped() {
        let (short, mut budget) = (path("a"), Budget::default());
        for _ in 0..TREE_COST_MAX {
            budget.file(&short).unwrap();
        }
        assert_eq!(budget.file(&short), Err(TooMany));
        let long =
            RelativePath::new(&[b"n".repeat(200), b"/".to_vec()].concat().repeat(20)[..4019]);
        let (long, mut budget) = (long.unwrap(), Budget::default());
        let taken = (0..).take_while(|_| budget.file(&long).is_ok()).count();
        assert_eq!(taken, LISTED_PATH_BYTES_MAX / 4019);
        const { assert!(4019 < PATH_BYTES_MAX) };
        // Every path has directories of its own.
        let mut budget = Budget::default();
        let deep = |n: usize| path(&format!("{n}{}", "/d".repeat(200)));
        let taken = (0..).take_while(|n| budget.change(&deep(*n)).is_ok()).count();
        assert_eq!(taken, TREE_COST_MAX / (1 + 200 * DIRECTORY_COST));
    }

    #[test]
    fn a_message_with_too_many_changes_is_not_decoded() {
        let changes = |count| FromAgent::Changed(vec![Change::Remove { path: path("a") }; count]);
        let most = encode(&changes(CHANGES_PER_MESSAGE_MAX)).unwrap();
        assert_eq!(decode::<FromAgent>(&most).unwrap(), changes(CHANGES_PER_MESSAGE_MAX));
        let more = encode(&changes(CHANGES_PER_MESSAGE_MAX + 1)).unwrap();
        let error = decode::<FromAgent>(&more).unwrap_err();
        assert!(matches!(error, CodecError::Malformed(text) if text.contains("more than 4096")));
    }
}
