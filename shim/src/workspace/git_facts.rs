//! A small git directory, with which git says the same about a workspace as here: `describe`,
//! `rev-parse`, `log -1`, `status`. Build scripts put that into programs.
//!
//! It has `HEAD` and its branch, the tags behind it, the commits that `describe` needs, the
//! directories of `HEAD` and the index. Of files it has only the contents of ignore rules and
//! attributes, which are read from it above the workspace: git compares the others by digest.
//! Hooks, credentials, other branches and the settings of the user are not in it. Files that are
//! tracked, here and not sent count as unchanged, and so do those of filters such as git-lfs. The
//! index is locked: nothing below `.git` comes back.
//!
//! Of the same state of a repository the same bytes are made; when, is decided by
//! [`super::git_store`].
//!
//! git is asked in a copy of the git directory ([`super::git_copy`]), so that it says nothing of
//! another repository.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use burst_protocol::RelativePath;
use burst_sync::ignore_rules::RULES_BYTES_MAX;
use burst_sync::regular_file::{self, Links};
use burst_sync::root_directory::RootDirectory;

use super::git_command::answer;
use super::git_copy::{self, GitCopy};
use super::git_excludes;
use super::git_history::{Cut, History};
use super::url_password::without_password;

/// As many commits are sent whatever the tags are.
const COMMITS_ALL: usize = 500;

/// As many commits are looked at for a tag.
const COMMITS_MAX: usize = 20_000;

/// The name of the one pack: always the same, so that it is sent as a difference.
const PACK: &str = "objects/pack/pack-0000000000000000000000000000000000000000";

/// What makes git write the same index for every user.
const PLAIN_INDEX: [&str; 8] = [
    "-c",
    "core.splitIndex=false",
    "-c",
    "core.untrackedCache=false",
    "-c",
    "feature.manyFiles=false",
    "-c",
    "index.skipHash=false",
];

/// Makes the git directory of a repository at a new place, from a copy of the real one. `is_unsent`
/// says of a path below the working tree whether it is here and not sent.
pub(super) fn make(
    copy: &GitCopy<'_>,
    at: &Path,
    is_unsent: impl Fn(&RelativePath) -> bool,
) -> io::Result<()> {
    Facts { copy, at }.make(is_unsent)
}

/// The making of a git directory.
struct Facts<'a> {
    copy: &'a GitCopy<'a>,
    /// Where it is made.
    at: &'a Path,
}

impl Facts<'_> {
    fn make(&self, is_unsent: impl Fn(&RelativePath) -> bool) -> io::Result<()> {
        for name in ["refs", "objects/pack", "info"] {
            fs::create_dir_all(self.at.join(name))?;
        }
        let head = self.text(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).ok();
        let branch = self.copy.branch();
        match branch {
            Some(branch) => self.write("HEAD", &format!("ref: {branch}\n"))?,
            None => self.write("HEAD", &format!("{}\n", head.as_deref().unwrap_or_default()))?,
        }
        if let (Some(branch), Some(head)) = (branch, &head) {
            self.write(branch, &format!("{head}\n"))?;
        }
        self.write("config", &self.configuration(head.is_some())?)?;
        self.write("info/exclude", &self.excludes())?;
        if let Some(head) = head {
            self.add_objects(&head)?;
        }
        self.add_index(is_unsent)
    }

    /// What git needs to know of the repository, and what its short names depend on.
    fn configuration(&self, has_head: bool) -> io::Result<String> {
        let format = self.text(&["rev-parse", "--show-object-format"])?;
        let version = u8::from(format != "sha1");
        let mut text = format!("[core]\n\trepositoryformatversion = {version}\n\tbare = false\n");
        for key in ["filemode", "symlinks", "autocrlf", "eol"] {
            if let Ok(value) = self.text(&["config", "--get", &format!("core.{key}")])
                && value.bytes().all(|byte| byte.is_ascii_alphanumeric())
            {
                text += &format!("\t{key} = {value}\n");
            }
        }
        if has_head {
            let short = self.text(&["rev-parse", "--short", "HEAD"])?;
            text += &format!("\tabbrev = {}\n", short.len());
        }
        if version == 1 {
            text += &format!("[extensions]\n\tobjectFormat = {format}\n");
        }
        if let Ok(url) = self.text(&["config", "--local", "--get", "remote.origin.url"])
            && !url.contains(['"', '\\', '\n'])
        {
            let url = without_password(&url).unwrap_or(url);
            // A query may hold a token.
            let url = url.split(['?', '#']).next().unwrap_or_default();
            text += &format!("[remote \"origin\"]\n\turl = \"{url}\"\n");
        }
        Ok(text)
    }

    /// The patterns that are not in the working tree: those of a file that the user has chosen,
    /// and those that lie in the repository itself. A repository is not trusted: a file that its
    /// configuration or a link in it names is not copied.
    fn excludes(&self) -> String {
        let user = git_excludes::of_user(self.copy.repository());
        let user =
            user.and_then(|file| regular_file::read(&file, RULES_BYTES_MAX, Links::Followed).ok());
        let texts = user.into_iter().chain(self.file("info/exclude"));
        texts.map(|text| String::from_utf8_lossy(&text).into_owned() + "\n").collect()
    }

    /// Reads a small file of the repository, which must lie in it without a link.
    fn file(&self, name: &str) -> Option<Vec<u8>> {
        let root = RootDirectory::open(&self.copy.repository().common).ok()?;
        root.read(&RelativePath::new(name.as_bytes()).ok()?, RULES_BYTES_MAX).ok()
    }

    /// Adds the tags, and the pack with what `HEAD` and they need.
    fn add_objects(&self, head: &str) -> io::Result<()> {
        let cut = self.commits(head)?;
        let known_shallow = self.copy.read("shallow").unwrap_or_default();
        let known_shallow = String::from_utf8_lossy(&known_shallow);
        let known = known_shallow.lines().map(ToOwned::to_owned);
        let mut shallow = cut.shallow;
        shallow.extend(known.filter(|commit| cut.commits.contains(commit)));
        if !shallow.is_empty() {
            self.write("shallow", &lines(&shallow))?;
        }
        let mut objects = cut.commits.clone();
        let format = "--format=%(objectname) %(*objectname) %(refname)";
        let mut packed = "# pack-refs with: peeled fully-peeled sorted \n".to_owned();
        for line in self.text(&["for-each-ref", format, "refs/tags"])?.lines() {
            let mut fields = line.splitn(3, ' ');
            let (Some(object), Some(peeled), Some(name)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let commit = if peeled.is_empty() { object } else { peeled };
            if !cut.commits.contains(commit) {
                continue;
            }
            packed += &format!("{object} {name}\n");
            if !peeled.is_empty() {
                packed += &format!("^{peeled}\n");
                objects.insert(object.to_owned());
            }
        }
        self.write("packed-refs", &packed)?;
        objects.insert(self.text(&["rev-parse", &format!("{head}^{{tree}}")])?);
        let trees = self.run(&["ls-tree", "-r", "-t", "-d", "-z", head], None)?;
        for entry in String::from_utf8_lossy(&trees).split('\0') {
            let fields: Vec<&str> = entry.split([' ', '\t']).take(3).collect();
            if let [_, "tree", name] = fields[..] {
                objects.insert(name.to_owned());
            }
        }
        objects.extend(self.rules()?);
        let packing = ["pack-objects", "-q", "--stdout", "--threads=1", "--window=0"];
        let pack = self.run(&packing, Some(lines(&objects).as_bytes()))?;
        let (file, index) = (format!("{PACK}.pack"), format!("{PACK}.idx"));
        self.write_bytes(&file, &pack)?;
        let (file, index) = (self.at.join(file), self.at.join(index));
        let mut command = self.git();
        command.args(["index-pack", "--no-rev-index", "-o"]).arg(index).arg(file);
        answer(&mut command, b"").map(drop)
    }

    /// The contents of tracked files with rules, which git and cargo read from the repository where
    /// the file is not in the working tree: above the workspace.
    fn rules(&self) -> io::Result<Vec<String>> {
        let files = [":(glob,top)**/.gitignore", ":(glob,top)**/.gitattributes"];
        let listed =
            self.run(&[&["ls-files", "--stage", "-z", "--"], &files[..]].concat(), None)?;
        let listed = String::from_utf8_lossy(&listed).into_owned();
        let name = |entry: &str| Some(entry.split(' ').nth(1)?.to_owned());
        Ok(listed.split('\0').filter_map(name).collect())
    }

    /// The commits that are needed.
    fn commits(&self, head: &str) -> io::Result<Cut> {
        let most = format!("--max-count={COMMITS_MAX}");
        let history = History::parse(&self.text(&["rev-list", "--parents", &most, head])?);
        if history.len() <= COMMITS_ALL {
            return Ok(history.all());
        }
        let nearest = |options: &[&str]| {
            let arguments = [&["describe", "--abbrev=0"], options, &[head]].concat();
            let tag = self.text(&arguments).ok()?;
            self.text(&["rev-parse", &format!("refs/tags/{tag}^{{commit}}")]).ok()
        };
        let tagged: Vec<String> =
            [nearest(&[]), nearest(&["--tags"])].into_iter().flatten().collect();
        Ok(history.to_tags(&head.to_owned(), &tagged))
    }

    /// Adds an index without the times and sizes of files here.
    fn add_index(&self, is_unsent: impl Fn(&RelativePath) -> bool) -> io::Result<()> {
        let entries = self.run(&["ls-files", "--stage", "-z"], None)?;
        let path = |entry: &[u8]| {
            let tab = entry.iter().position(|byte| *byte == b'\t')?;
            RelativePath::new(&entry[tab + 1..]).ok()
        };
        let paths: Vec<RelativePath> = entries.split(|byte| *byte == 0).filter_map(path).collect();
        let unsent = ended_by_nul(paths.iter().filter(|path| is_unsent(path)));
        let filtered = self.filtered(&ended_by_nul(&paths))?;
        let update = |arguments: &[&str], input: &[u8]| {
            let mut command = self.git();
            command.args(PLAIN_INDEX).arg("update-index").args(arguments);
            command.env("GIT_INDEX_FILE", self.at.join("index"));
            answer(&mut command, input).map(drop)
        };
        update(&["-z", "--index-info"], &entries)?;
        for (mark, paths) in [("--skip-worktree", unsent), ("--assume-unchanged", filtered)] {
            if !paths.is_empty() {
                update(&["-z", mark, "--stdin"], &paths)?;
            }
        }
        // What a run writes to it would be lost. git reads without it, and says why it does not
        // write.
        self.write("index.lock", "")
    }

    /// Those of these paths whose contents a program of the user makes, such as git-lfs: git on
    /// the agent has none.
    fn filtered(&self, paths: &[u8]) -> io::Result<Vec<u8>> {
        let answer = self.run(&["check-attr", "-z", "--stdin", "filter"], Some(paths))?;
        let fields: Vec<&[u8]> = answer.split(|byte| *byte == 0).collect();
        let is_none = |value: &[u8]| [&b"unspecified"[..], b"unset"].contains(&value);
        let named = fields.chunks_exact(3).filter(|fields| !is_none(fields[2]));
        Ok(named.flat_map(|fields| [fields[0], b"\0"].concat()).collect())
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        self.write_bytes(name, text.as_bytes())
    }

    /// Writes a file. The directory has another name until it is complete, so that git reads no
    /// half-written file.
    fn write_bytes(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        git_copy::write(&self.at.join(name), bytes)
    }

    /// Runs git; returns its output without the last end of a line.
    fn text(&self, arguments: &[&str]) -> io::Result<String> {
        let output = self.run(arguments, None)?;
        Ok(String::from_utf8_lossy(&output).trim_end_matches('\n').to_owned())
    }

    fn run(&self, arguments: &[&str], input: Option<&[u8]>) -> io::Result<Vec<u8>> {
        answer(self.git().args(arguments), input.unwrap_or_default())
    }

    fn git(&self) -> Command {
        self.copy.git()
    }
}

fn ended_by_nul<'a>(paths: impl IntoIterator<Item = &'a RelativePath>) -> Vec<u8> {
    paths.into_iter().flat_map(|path| [path.as_bytes(), b"\0"].concat()).collect()
}

fn lines(names: &BTreeSet<String>) -> String {
    names.iter().flat_map(|name| [name, "\n"]).collect()
}
