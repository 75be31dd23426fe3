//! Every decoder against mutated bytes: no input makes it panic, or allocate more than its
//! length allows.
//!
//! The corpus is the golden bytes of the protocol, and what the encoders make of small values.
//! Mutations follow a seed, so a failure can be repeated: `BURST_FUZZ_SEED=7`. Some seconds by
//! default; `BURST_FUZZ_ROUNDS=100000000` for hours.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "these are tests: a panic is how they fail"
)]

mod corpus;

use std::panic::{AssertUnwindSafe, catch_unwind};

use burst_agent::user_data::UserData;
use burst_protocol::codec;
use burst_protocol::frame::{HEADER_BYTES, Header};
use burst_protocol::hello::{PREFACE_BYTES, Preface};
use burst_protocol::link::Control;
use burst_protocol::message::{FromAgent, FromShim};
use burst_protocol::tree::{Change, Directory, DirectoryObject};
use burst_sync::pack::PackStore;
use burst_sync::stat_cache::{Cached, read_record};
use burst_sync::{SyncError, patch};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Mutated inputs for each decoder, unless the environment says otherwise.
const ROUNDS: u64 = 20_000;

/// Decoders that use files take longer.
const FILE_ROUNDS: u64 = 500;

/// Bytes that a decoder may allocate whatever its input: serde reserves up to 1 MiB for a list
/// before its elements are read, and lists are nested; zstd has buffers of fixed size.
const FIXED_BYTES: usize = 4 << 20;

/// Bytes that a decoder may allocate for each byte of its input. The dearest is an entry of a
/// directory: three bytes make a node of a map.
const BYTES_PER_INPUT_BYTE: usize = 300;

fn number(name: &str) -> Option<u64> {
    Some(std::env::var(name).ok()?.parse().expect("a number"))
}

/// Gives mutations of the corpus to a decoder.
fn fuzz(name: &str, corpus: &[Vec<u8>], rounds: u64, decode: impl Fn(&[u8])) {
    let seed = number("BURST_FUZZ_SEED").unwrap_or(1);
    let rounds = number("BURST_FUZZ_ROUNDS").unwrap_or(rounds);
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..rounds {
        let input = corpus::mutated(corpus, &mut random);
        let limit = FIXED_BYTES + BYTES_PER_INPUT_BYTE * input.len();
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        let survived = catch_unwind(AssertUnwindSafe(|| decode(&input)));
        let used = ALLOCATOR.peak_usage().saturating_sub(before);
        let at = || format!("{name}, seed {seed}, round {round}: {input:02x?}");
        assert!(survived.is_ok(), "panicked: {}", at());
        assert!(used <= limit, "{used} bytes allocated: {}", at());
    }
}

/// The decoders run one after the other: they share the allocator.
#[test]
fn no_bytes_make_a_decoder_panic_or_allocate_without_bound() {
    let golden = corpus::golden();
    fuzz("messages of the shim", &golden.shim, ROUNDS, |bytes| {
        drop(codec::decode::<FromShim>(bytes));
    });
    fuzz("messages of the agent", &golden.agent, ROUNDS, |bytes| {
        drop(codec::decode::<FromAgent>(bytes));
    });
    fuzz("control messages", &golden.control, ROUNDS, |bytes| {
        drop(codec::decode::<Control>(bytes));
    });
    fuzz("directories", &corpus::directories(), ROUNDS, |bytes| {
        drop(codec::decode_record::<Directory>(bytes));
        drop(codec::decode::<DirectoryObject>(bytes));
        drop(codec::decode::<Vec<Change>>(bytes));
    });
    fuzz("stat caches", &corpus::directories(), ROUNDS, |bytes| {
        drop(codec::decode_record::<Vec<(burst_protocol::RelativePath, Cached)>>(bytes));
    });
    fuzz("prefaces", &corpus::prefaces(), ROUNDS, preface);
    fuzz("frame headers", &corpus::prefaces(), ROUNDS, |bytes| {
        if let Some(header) = bytes.first_chunk::<HEADER_BYTES>() {
            assert!(Header::parse(*header).is_err() || bytes[0] < 4);
        }
    });
    fuzz("user data", &corpus::user_data(), ROUNDS, |bytes| {
        drop(UserData::parse(&String::from_utf8_lossy(bytes)));
    });
    let base = vec![7; 4096];
    let patches =
        vec![patch::make(&base, &vec![7; 5000]).unwrap(), patch::make(&base, b"x").unwrap()];
    fuzz("patches", &patches, ROUNDS, |bytes| {
        let patched: Result<Vec<u8>, SyncError> = patch::apply(&base, bytes, 64 << 10);
        assert!(patched.is_err() || patched.unwrap().len() <= 64 << 10);
    });
    let disk = tempfile::tempdir().unwrap();
    fuzz("packs", &corpus::packs(), FILE_ROUNDS, |bytes| {
        let pack = disk.path().join("0000000000.pack");
        std::fs::write(&pack, bytes).unwrap();
        drop(PackStore::open(disk.path()));
        drop(std::fs::remove_file(pack));
    });
    fuzz("records", &corpus::records(), FILE_ROUNDS, |bytes| {
        let record = disk.path().join("record");
        std::fs::write(&record, bytes).unwrap();
        drop(read_record::<Directory>(&record));
    });
}

fn preface(bytes: &[u8]) {
    let Some((start, body)) = bytes.split_first_chunk::<PREFACE_BYTES>() else { return };
    if let Ok((kind, length)) = Preface::parse_start(*start)
        && let Some(body) = body.get(..length)
    {
        drop(Preface::parse_body(kind, body));
    }
}
