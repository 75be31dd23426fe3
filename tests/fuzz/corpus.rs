//! The bytes that mutations start from, and the mutations.

use burst_agent::identity::Identity;
use burst_agent::user_data::UserData;
use burst_protocol::hello::{Preface, Reason};
use burst_protocol::tree::{Directory, File, FileMode, LinkTarget, Node};
use burst_protocol::{Digest, RelativePath, codec};
use burst_sync::pack::PackStore;
use burst_sync::stat_cache::write_record;

/// Numbers that lengths and tags are replaced by: the marks of bincode's varints, and edges.
const EDGES: [&[u8]; 7] = [
    &[0xfb, 0xff, 0xff],
    &[0xfc, 0xff, 0xff, 0xff, 0x7f],
    &[0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    &[0xfe],
    &[0xff],
    &[0],
    &[0x80],
];

/// The golden messages.
pub(crate) struct Golden {
    pub(crate) shim: Vec<Vec<u8>>,
    pub(crate) agent: Vec<Vec<u8>>,
    pub(crate) control: Vec<Vec<u8>>,
}

/// The golden bytes of the protocol.
pub(crate) fn golden() -> Golden {
    let text = include_str!("../../agent/protocol/tests/golden-v1.txt");
    let of = |end: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(end)?.strip_prefix(' '));
        let byte = |hex: &[u8]| u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap();
        let found: Vec<Vec<u8>> =
            lines.map(|line| line.as_bytes().chunks(2).map(byte).collect()).collect();
        assert!(found.len() > 5, "no golden bytes of the {end}");
        found
    };
    Golden { shim: of("shim"), agent: of("agent"), control: of("control") }
}

fn tree() -> Directory {
    let mut tree = Directory::new();
    let path = |text: &str| RelativePath::new(text.as_bytes()).unwrap();
    for name in ["a", "b/c", "b/d/e", "f/g/h/i"] {
        let digest = Digest::of(name.as_bytes());
        let file = File { size: 1 << 40, digest, mode: FileMode::REGULAR };
        tree.put(&path(name), Node::File(file)).unwrap();
    }
    tree.put(&path("l"), Node::Link(LinkTarget::new(b"../x").unwrap())).unwrap();
    tree.put(&path("empty"), Node::Directory(Directory::new())).unwrap();
    tree
}

/// Directories in the forms in which they are stored and sent.
pub(crate) fn directories() -> Vec<Vec<u8>> {
    let tree = tree();
    let changes = Directory::new().changes_to(&tree);
    vec![
        codec::encode_record(&tree).unwrap(),
        codec::encode(&tree.object()).unwrap(),
        codec::encode(&changes).unwrap(),
    ]
}

/// The first bytes of streams.
pub(crate) fn prefaces() -> Vec<Vec<u8>> {
    let refuse = Preface::refuse(Reason::Version, "text");
    [Preface::hello("program"), Preface::answer(1, 1, "program"), refuse]
        .iter()
        .map(Preface::to_bytes)
        .collect()
}

/// The user data of a server.
pub(crate) fn user_data() -> Vec<Vec<u8>> {
    let (agent, shim) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    vec![UserData::new(&agent, &shim, 15).to_text().into_bytes()]
}

/// A pack with a few blobs.
pub(crate) fn packs() -> Vec<Vec<u8>> {
    let disk = tempfile::tempdir().unwrap();
    let mut store = PackStore::open(disk.path()).unwrap();
    for content in [b"one".to_vec(), vec![2; 3000], b"three".to_vec()] {
        store.put(Digest::of(&content), &content, true).unwrap();
    }
    store.flush().unwrap();
    vec![std::fs::read(disk.path().join("0000000000.pack")).unwrap()]
}

/// A record on disk.
pub(crate) fn records() -> Vec<Vec<u8>> {
    let disk = tempfile::tempdir().unwrap();
    let path = disk.path().join("record");
    write_record(&path, &tree()).unwrap();
    vec![std::fs::read(path).unwrap()]
}

/// One input of the corpus with one to eight mutations.
pub(crate) fn mutated(corpus: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = corpus[random.usize(..corpus.len())].clone();
    for _ in 0..random.usize(1..=8) {
        let at = random.usize(..=bytes.len());
        match random.u8(0..8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(0..8),
            1 if at < bytes.len() => bytes[at] = random.u8(..),
            2 => bytes.insert(at, random.u8(..)),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 => bytes.truncate(at),
            5 => {
                let edge = EDGES[random.usize(..EDGES.len())];
                let end = (at + edge.len()).min(bytes.len());
                bytes.splice(at..end, edge.iter().copied());
            }
            6 => {
                // A part of another input.
                let other = &corpus[random.usize(..corpus.len())];
                let from = random.usize(..=other.len());
                let to = random.usize(from..=other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                // A part of itself, many times.
                let from = random.usize(..=at);
                let part = bytes[from..at].to_vec();
                for _ in 0..random.usize(..16) {
                    bytes.splice(at..at, part.iter().copied());
                }
            }
        }
        bytes.truncate(64 << 10);
    }
    bytes
}
