//! The encoded bytes of every message of protocol version 1.
//!
//! A failure means that the wire format has changed, which needs a new protocol version.
//! Only for messages that no release has used may the file be rewritten, with
//! `BURST_WRITE_GOLDEN=1 cargo golden`.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "these are tests: a panic is how they fail"
)]

use burst_protocol::codec::{decode, encode};
use burst_protocol::limit::CONTROL_BYTES_MAX;
use burst_protocol::link::{Control, Refusal, StreamId};
use burst_protocol::message::*;
use burst_protocol::piece::Piece;
use burst_protocol::tree::{
    Change, Directory, DirectoryObject, Entry, File, FileMode, LinkTarget, Node, ObjectEntry,
};
use burst_protocol::{ByteBuf, Digest, FileName, RelativePath};

fn path(text: &str) -> RelativePath {
    RelativePath::new(text.as_bytes()).unwrap()
}

fn file() -> File {
    File { size: 70_000, digest: Digest::from_bytes([0xab; 32]), mode: FileMode::of(0o750) }
}

fn changes() -> Vec<Change> {
    vec![
        Change::Put { path: path("a/b"), entry: Entry::File(file()) },
        Change::Put { path: path("l"), entry: Entry::Link(LinkTarget::new(b"../x").unwrap()) },
        Change::Put { path: path("d"), entry: Entry::Directory },
        Change::Remove { path: path("gone") },
    ]
}

fn modes() -> TerminalModes {
    TerminalModes {
        input: 0x4500,
        output: 5,
        local: 0x8a3b,
        characters: [3, 28, 127, 21, 4, 17, 19, 26, 0, 18, 15, 23, 22, 255],
    }
}

fn blobs() -> [Blob; 2] {
    let digest = Digest::from_bytes([1; 32]);
    let base = Digest::from_bytes([2; 32]);
    [
        Blob { digest, size: 5, encoding: Encoding::Whole },
        Blob { digest, size: 5, encoding: Encoding::Patch { base, length: 300 } },
    ]
}

fn request() -> RunRequest {
    let call = Call {
        needs: Some("nextest".into()),
        arguments: vec![ByteBuf::from(b"build"), ByteBuf::from(b"\xff")],
        json: JsonMessages::Shown,
    };
    RunRequest {
        project: path("home/me/app"),
        device: Some(FileName::new(b"scsi-1").unwrap()),
        cargo_home: Some(path("home/me/.cargo")),
        mounts: vec![path("home/me/app")],
        target_directory: path("home/me/app/target"),
        names_target_directory: true,
        build_directory: Some(path("home/me/app/build")),
        working_directory: Some(path("home/me/app/src")),
        base: Some(Digest::from_bytes([3; 32])),
        root: Digest::from_bytes([4; 32]),
        offers_changes: true,
        invocations: vec![Invocation {
            alternatives: vec![call],
            optional: true,
            runs_after: Some(100),
        }],
        environment: vec![(ByteBuf::from(b"A"), ByteBuf::from(b"1"))],
        toolchain: Some("stable".into()),
        terminal: Terminal {
            input: true,
            output: false,
            error: true,
            one_output: false,
            control: Some(ControllingTerminal {
                modes: modes(),
                discipline: LineDiscipline::Client,
            }),
            name: Some("xterm".into()),
            size: Some(WindowSize { columns: 80, rows: 24 }),
        },
        sends_input: true,
        returns: Returns {
            profile: Some(FileName::new(b"debug").unwrap()),
            named: true,
            criterion: false,
            timings: true,
            docs: false,
            tests: true,
            whole: Some(WholeTarget { base: Some(Digest::from_bytes([6; 32])) }),
            paths: vec![path("home/me/app/data")],
        },
        compress_large: false,
        keep_alive_secs: Some(300),
        title: "cargo build".into(),
        fresh_target: true,
        taken: changes(),
        freed: vec![path("freed")],
        workspace: Some(7),
        umask: 0o027,
        client: Some(ClientProcess { pid: 4_000, namespace: 4_026_531_836 }),
        reports_ports: true,
        ignored_signals: vec![1, 15],
    }
}

/// A request from `/`, with a terminal of the agent.
fn from_root() -> RunRequest {
    let mut request = request();
    request.working_directory = None;
    let discipline = LineDiscipline::Agent;
    request.terminal.control = Some(ControllingTerminal { modes: modes(), discipline });
    request
}

fn from_shim() -> Vec<FromShim> {
    let digest = Digest::from_bytes([5; 32]);
    let object = DirectoryObject(vec![
        (FileName::new(b"d").unwrap(), ObjectEntry::Directory(digest)),
        (FileName::new(b"f").unwrap(), ObjectEntry::File(file())),
    ]);
    let [whole, patch] = blobs();
    vec![
        FromShim::Run(Box::new(request())),
        FromShim::Status,
        FromShim::End { with_volumes: true },
        FromShim::Changes(changes()),
        FromShim::Blob(whole),
        FromShim::Blob(patch),
        FromShim::BlobsEnd,
        FromShim::DirectoryObjects(vec![object]),
        FromShim::Input(ByteBuf::from(b"in")),
        FromShim::InputEnd,
        FromShim::Signal(2),
        FromShim::Resize(WindowSize { columns: 300, rows: 2 }),
        FromShim::Kill,
        FromShim::Fetch(vec![Fetch { digest, base: Some(digest) }]),
        FromShim::Adopted(vec![0, 251]),
        FromShim::Done,
        FromShim::Release(FileName::new(b"scsi-1").unwrap()),
        FromShim::Lease(Lease {
            secs: 600,
            will: Some(Will {
                method: "DELETE".into(),
                url: "https://a/b".into(),
                headers: vec![("c".into(), "d".into())],
            }),
        }),
        FromShim::OutputCredit(1 << 18),
        FromShim::Declined(vec![1]),
        FromShim::Connect(8080.try_into().unwrap()),
        FromShim::Keys(ByteBuf::from(b"key")),
        FromShim::SignalProcess(10),
        FromShim::Run(Box::new(from_root())),
    ]
}

fn from_agent() -> Vec<FromAgent> {
    let digest = Digest::from_bytes([6; 32]);
    let clock = Timestamp { seconds: 1_700_000_000, nanoseconds: 5 };
    let project =
        ProjectStatus { project: path("p"), idle_secs: 9, runs: vec!["cargo build".into()] };
    vec![
        FromAgent::Waiting { holder: "cargo test".into() },
        FromAgent::Want(Want::Everything),
        FromAgent::Want(Want::DirectoryObjects(vec![digest])),
        FromAgent::Want(Want::Blobs(vec![digest])),
        FromAgent::Synced { written: 1, removed: 2 },
        FromAgent::Started { notice: Some("n".into()), clock },
        FromAgent::Output { stream: Stream::Error, bytes: ByteBuf::from(b"\x1b[m") },
        FromAgent::Changed(changes()),
        FromAgent::Artifacts(vec![Artifact { path: path("debug/app"), file: file() }]),
        FromAgent::Withheld { path: path("big"), size: 1 << 40 },
        FromAgent::Finished(Ending::Exited(101)),
        FromAgent::Finished(Ending::Signaled(9)),
        FromAgent::Blob(blobs()[0]),
        FromAgent::BlobsEnd,
        FromAgent::Failed(Failure { kind: FailureKind::DiskFull, messages: vec!["m".into()] }),
        FromAgent::Failed(Failure { kind: FailureKind::NoToolchain, messages: Vec::new() }),
        FromAgent::Failed(Failure { kind: FailureKind::NoVolume, messages: Vec::new() }),
        FromAgent::Status(AgentStatus {
            version: "0.1.0".into(),
            pid: 77,
            up_secs: 1,
            ends_in_secs: None,
            projects: vec![project],
        }),
        FromAgent::Done,
        FromAgent::InputCredit(4096),
        FromAgent::Unavailable(digest),
        FromAgent::Working,
        FromAgent::Unreadable { errors: vec!["e".into()], others: 3 },
        FromAgent::OutputEnd,
        FromAgent::Listening { port: 8080 },
        FromAgent::TargetFiles(vec![TargetFile {
            path: path("debug/deps/a"),
            file: file(),
            modified: clock,
        }]),
        FromAgent::TargetGone(vec![path("debug/gone")]),
        FromAgent::TargetListed(TargetListed {
            base: Some(digest),
            list: digest,
            compiler: Some("rustc".into()),
        }),
        FromAgent::NamedFiles(vec![Artifact { path: path("data/a"), file: file() }]),
        FromAgent::Missing(vec![path("home/me/app/data")]),
        FromAgent::LargeTestFiles { bytes: 1 << 30 },
        FromAgent::NamedLinks(vec![NamedLink {
            path: path("home/me/app/target/data/latest"),
            target: LinkTarget::new(b"run-1").unwrap(),
        }]),
        FromAgent::TerminalModes(modes()),
        FromAgent::TerminalRead(true),
        FromAgent::Stopped,
        FromAgent::Output { stream: Stream::Terminal, bytes: ByteBuf::from(b"?") },
        FromAgent::Used { cpu_millis: 1_234_567 },
    ]
}

fn controls() -> Vec<Control> {
    let id = StreamId::from_bytes([9; 16]);
    vec![
        Control::Open { id, grace_secs: 120 },
        Control::Resume { id, received: u64::MAX, attempt: 3 },
        Control::Resumed { received: 300 },
        Control::Refused(Refusal::Unknown),
        Control::Refused(Refusal::Expired { after_secs: 120 }),
        Control::Acknowledge { received: 1 << 40 },
        Control::Stop,
        Control::End,
        Control::Cancel { id },
    ]
}

fn line(name: &str, bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{name} {hex}\n")
}

#[test]
fn the_bytes_of_version_1() {
    let mut text = String::new();
    for message in from_shim() {
        let bytes = encode(&message).unwrap();
        assert_eq!(decode::<FromShim>(&bytes).unwrap(), message);
        text += &line("shim", &bytes);
    }
    for message in from_agent() {
        let bytes = encode(&message).unwrap();
        assert_eq!(decode::<FromAgent>(&bytes).unwrap(), message);
        text += &line("agent", &bytes);
    }
    for control in controls() {
        let bytes = encode(&control).unwrap();
        assert_eq!(decode::<Control>(&bytes).unwrap(), control);
        assert!(bytes.len() <= CONTROL_BYTES_MAX);
        text += &line("control", &bytes);
    }
    for piece in [Piece::Alive, Piece::Bytes(0x1234), Piece::Stop, Piece::End] {
        assert_eq!(Piece::parse(piece.to_bytes()), Ok(piece));
        text += &line("piece", &piece.to_bytes());
    }
    // What names the list of a whole target directory.
    let list = TargetFile {
        path: path("debug/deps/a"),
        file: file(),
        modified: Timestamp { seconds: -1, nanoseconds: 7 },
    };
    text += &line("list", TargetFile::digest_of(&[list]).unwrap().as_bytes());
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden-v1.txt");
    if std::env::var_os("BURST_WRITE_GOLDEN").is_some() {
        std::fs::write(golden, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(golden).unwrap(), text);
}

#[test]
fn truncated_and_extended_messages_are_errors() {
    for message in from_agent() {
        let bytes = encode(&message).unwrap();
        for end in 0..bytes.len() {
            assert!(decode::<FromAgent>(&bytes[..end]).is_err(), "{message:?} cut at {end}");
        }
        assert!(decode::<FromAgent>(&[bytes.as_slice(), b"\0"].concat()).is_err());
    }
}

#[test]
fn a_length_without_content_allocates_no_memory() {
    // The length of a list of 2^60 digests, without the digests.
    let claimed = [
        &encode(&FromAgent::Want(Want::Blobs(Vec::new()))).unwrap()[..2],
        &[0xfd],
        &(1_u64 << 60).to_le_bytes(),
    ]
    .concat();
    assert!(decode::<FromAgent>(&claimed).is_err());
}

#[test]
fn paths_are_validated_when_a_message_is_decoded() {
    let good = encode(&Change::Remove { path: path("abc") }).unwrap();
    let mut climbing = good.clone();
    let at = climbing.windows(3).position(|bytes| bytes == b"abc").unwrap();
    climbing[at..at + 3].copy_from_slice(b"../");
    assert!(decode::<Change>(&good).is_ok());
    assert!(decode::<Change>(&climbing).is_err());
    let mut tree = Directory::new();
    tree.put(&path("a"), Node::File(file())).unwrap();
    assert_eq!(decode::<Directory>(&encode(&tree).unwrap()).unwrap(), tree);
}
