//! A private registry on loopback: a sparse index that is only served with a token, and
//! downloads that are, too.

use burst_tests::Sandbox;

use crate::file_server::{FileServer, Request, sha256};

/// A registry that ends with the test.
pub(super) struct Registry(FileServer);

impl Registry {
    /// A registry without packages.
    pub(super) fn start(token: &'static str) -> Self {
        let server = FileServer::start(Some(token));
        let config = format!(
            r#"{{"dl":"{}/dl/{{crate}}-{{version}}.crate","auth-required":true}}"#,
            server.url()
        );
        server.append("/index/config.json", config.as_bytes());
        Self(server)
    }

    /// Its index, for `[registries]`.
    pub(super) fn index(&self) -> String {
        format!("sparse+{}/index/", self.0.url())
    }

    /// The requests since the last call.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.0.requests()
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
            "{{\"name\":\"{name}\",\"vers\":\"{version}\",\"deps\":[],\"cksum\":\"{}\",\
             \"features\":{{}},\"yanked\":false}}\n",
            sha256(&archive)
        );
        let download = std::fs::read(&archive).unwrap();
        self.0.append(&format!("/dl/{name}-{version}.crate"), &download);
        self.0.append(&format!("/index/{}/{}/{name}", &name[0..2], &name[2..4]), entry.as_bytes());
    }
}
