//! An HTTP server on loopback with files in memory. No test is here.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A request: its path, and whether it had the token.
pub(crate) type Request = (String, bool);

/// A server that ends with the test.
pub(crate) struct FileServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// Without it nothing is served.
    token: Option<&'static str>,
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    requests: Mutex<Vec<Request>>,
}

impl FileServer {
    /// A server without files, of which each request needs this token.
    pub(crate) fn start(token: Option<&'static str>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared =
            Arc::new(Shared { token, files: Mutex::default(), requests: Mutex::default() });
        let serving = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = serving.clone();
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds to the end of a file, which need not exist.
    pub(crate) fn append(&self, path: &str, bytes: &[u8]) {
        lock(&self.shared.files).entry(path.to_owned()).or_default().extend_from_slice(bytes);
    }

    /// The requests since the last call.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut *lock(&self.shared.requests))
    }
}

impl Shared {
    /// Answers one request; a client opens another connection for the next.
    fn serve(&self, stream: TcpStream) {
        let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
        let Some(first) = lines.next() else { return };
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let is_known = self.token.is_none_or(|token| {
            let authorization = format!("authorization: {token}");
            headers.iter().any(|line| line.eq_ignore_ascii_case(&authorization))
        });
        let files = lock(&self.files);
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
        lock(&self.requests).push((path, is_known));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The digest of a file, by the program `sha256sum`.
pub(crate) fn sha256(file: &Path) -> String {
    let output = Command::new("sha256sum").arg(file).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}
