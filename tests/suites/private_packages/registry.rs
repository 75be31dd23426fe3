//! A private registry on loopback: a sparse index that is only served with a token, and
//! downloads that are, too.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use burst_tests::Sandbox;

/// A request: its path, and whether it had the token.
pub(super) type Request = (String, bool);

/// A registry that ends with the test.
pub(super) struct Registry {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    token: &'static str,
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    requests: Mutex<Vec<Request>>,
}

impl Registry {
    /// A registry without packages.
    pub(super) fn start(token: &'static str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let config = format!(
            r#"{{"dl":"http://{address}/dl/{{crate}}-{{version}}.crate","auth-required":true}}"#
        );
        let files = BTreeMap::from([("/index/config.json".to_owned(), config.into_bytes())]);
        let shared =
            Arc::new(Shared { token, files: Mutex::new(files), requests: Mutex::default() });
        let serving = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = serving.clone();
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, shared }
    }

    /// Its index, for `[registries]`.
    pub(super) fn index(&self) -> String {
        format!("sparse+http://{}/index/", self.address)
    }

    /// The requests since the last call.
    pub(super) fn requests(&self) -> Vec<Request> {
        let mut requests = self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *requests)
    }

    /// Publishes a library without dependencies, whose `answer` is this number.
    pub(super) fn publish(&self, sandbox: &Sandbox, name: &str, version: &str, answer: u32) {
        let package = sandbox.project(
            &format!("packages/{name}-{version}"),
            &[
                (
                    "Cargo.toml",
                    &format!(
                        "[package]\nname = '{name}'\nversion = '{version}'\nedition = '2021'\n\
                         [workspace]\n"
                    ),
                ),
                ("src/lib.rs", &format!("pub fn answer() -> u32 {{ {answer} }}\n")),
            ],
        );
        let mut cargo = sandbox.command("cargo", &package.root);
        let packaged = cargo.args(["package", "--no-verify", "--allow-dirty", "-q"]).status();
        assert!(packaged.unwrap().success());
        let archive = package.root.join(format!("target/package/{name}-{version}.crate"));
        let entry = format!(
            r#"{{"name":"{name}","vers":"{version}","deps":[],"cksum":"{}","features":{{}},"yanked":false}}"#,
            sha256(&archive)
        );
        let mut files = self.shared.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert(format!("/dl/{name}-{version}.crate"), std::fs::read(&archive).unwrap());
        let index = format!("/index/{}/{}/{name}", &name[0..2], &name[2..4]);
        let entries = files.entry(index).or_default();
        entries.extend_from_slice(entry.as_bytes());
        entries.push(b'\n');
    }
}

impl Shared {
    /// Answers one request; cargo opens another connection for the next.
    fn serve(&self, stream: TcpStream) {
        let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
        let Some(first) = lines.next() else { return };
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let authorization = format!("authorization: {}", self.token);
        let is_known = headers.iter().any(|line| line.eq_ignore_ascii_case(&authorization));
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let (status, body) = match files.get(&path) {
            _ if !is_known => ("401 Unauthorized", &[][..]),
            Some(body) => ("200 OK", body.as_slice()),
            None => ("404 Not Found", &[][..]),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let mut stream = &stream;
        // A client that has gone needs no answer.
        drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)));
        drop(files);
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push((path, is_known));
    }
}

fn sha256(file: &Path) -> String {
    let output = Command::new("sha256sum").arg(file).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}
