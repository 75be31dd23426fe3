//! Decoding of directories, which are nested: a level more than a path can have is an error
//! instead of a stack overflow.
//!
//! The bytes are those that `#[derive(Serialize)]` writes; a test of [`codec`](crate::codec)
//! compares them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::{Directory, Node};
use crate::limit::PATH_DEPTH_MAX;
use crate::path::FileName;

impl<'de> Deserialize<'de> for Directory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Level { levels_below: PATH_DEPTH_MAX }.deserialize(deserializer)
    }
}

/// Decodes a directory with at most so many levels of names below it.
#[derive(Clone, Copy)]
struct Level {
    levels_below: usize,
}

/// Decodes the map of a directory's entries.
struct Entries(Level);

/// Decodes one entry of a directory.
struct Entry(Level);

#[derive(serde::Deserialize)]
enum Kind {
    File,
    Link,
    Directory,
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Directory;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Directory, D::Error> {
        deserializer.deserialize_struct("Directory", &["entries"], self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Directory;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a directory")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<Directory, A::Error> {
        let entries = fields.next_element_seed(Entries(self))?;
        let entries = entries.ok_or_else(|| Error::invalid_length(0, &self))?;
        Ok(Directory { entries, digest: OnceLock::new() })
    }
}

impl<'de> DeserializeSeed<'de> for Entries {
    type Value = BTreeMap<FileName, Node>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entries {
    type Value = BTreeMap<FileName, Node>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the entries of a directory")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some(name) = map.next_key()? {
            let levels_below = self.0.levels_below.checked_sub(1);
            let levels_below = levels_below
                .ok_or_else(|| Error::custom("directories are nested deeper than a path"))?;
            entries.insert(name, map.next_value_seed(Entry(Level { levels_below }))?);
        }
        Ok(entries)
    }
}

impl<'de> DeserializeSeed<'de> for Entry {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_enum("Node", &["File", "Link", "Directory"], self)
    }
}

impl<'de> Visitor<'de> for Entry {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an entry of a directory")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, entry: A) -> Result<Node, A::Error> {
        let (kind, body) = entry.variant()?;
        match kind {
            Kind::File => body.newtype_variant().map(Node::File),
            Kind::Link => body.newtype_variant().map(Node::Link),
            Kind::Directory => body.newtype_variant_seed(self.0).map(Node::Directory),
        }
    }
}
