//! `doc --open`: opens fetched documentation in the browser of this machine.

use std::path::Path;
use std::process::{Command, Stdio};

use burst_protocol::message::Artifact;

use crate::environment;

/// Opens the first crate page among the fetched artifacts. `docs` is `target/doc`.
pub(crate) fn open(docs: &Path, artifacts: &[Artifact]) {
    let page = artifacts.iter().find_map(|artifact| {
        let path = String::from_utf8_lossy(artifact.path.as_bytes()).into_owned();
        let inner = path.strip_prefix("doc/")?;
        let name = inner.strip_suffix("/index.html")?;
        (!name.contains('/') && name != "src" && name != "help").then(|| docs.join(inner))
    });
    let Some(page) = page else { return };
    let browser = environment::browser();
    // Without a browser nothing is opened; the files are in place.
    drop(
        Command::new(browser)
            .arg(page)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn(),
    );
}
