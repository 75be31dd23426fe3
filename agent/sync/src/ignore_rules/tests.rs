use std::fs;

use super::*;
use crate::clock::Moment;
use crate::root_directory::RootDirectory;
use crate::scan::scan;
use crate::stat_cache::StatCache;
use crate::tally::Tally;

const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# created by cargo.\n";

fn sent(root: &Path, unexclude: &[&str], extra: &[&str], never: &[&str]) -> Vec<String> {
    let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let never = never.iter().map(|path| RelativePath::new(path.as_bytes()).unwrap()).collect();
    let (rules, _) = IgnoreRules::new(root, &owned(unexclude), &owned(extra), never, |_| None);
    let handle = RootDirectory::open(root).unwrap();
    let found =
        scan(&handle, None, &rules, &mut StatCache::default(), Moment::now(), &Tally::default())
            .unwrap();
    let mut paths = Vec::new();
    found.tree.visit(&mut |path, node| {
        if !matches!(node, burst_protocol::tree::Node::Directory(_)) {
            paths.push(path.display().to_string());
        }
    });
    paths
}

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = tree.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    tree
}

#[test]
fn nesting_and_negation_follow_git() {
    let tree = tree(&[
        (".git/HEAD", ""),
        (".git/info/exclude", "private\n"),
        (".gitignore", "*.log\n/build\n!keep.log\ndocs/\n"),
        ("a.log", ""),
        ("keep.log", ""),
        ("private", ""),
        ("build/x", ""),
        ("src/build/x", ""),
        ("src/.gitignore", "!a.log\n*.tmp\n"),
        ("src/a.log", ""),
        ("src/a.tmp", ""),
        ("docs/.gitignore", "!*\n"),
        ("docs/x", ""),
        (".hidden", ""),
        ("built/CACHEDIR.TAG", TAG),
        ("built/x", ""),
    ]);
    let expected =
        [".gitignore", ".hidden", "keep.log", "src/.gitignore", "src/a.log", "src/build/x"];
    assert_eq!(sent(tree.path(), &[], &[], &[]), expected);
    // The same by path, whether or not the file exists.
    let (rules, _) = IgnoreRules::new(tree.path(), &[], &["new".into()], HashSet::new(), |_| None);
    let leaves_out = |path: &str| rules.leaves_out(&RelativePath::new(path.as_bytes()).unwrap());
    for path in expected.into_iter().chain(["not/there", "src/not-there"]) {
        assert!(!leaves_out(path), "{path}");
    }
    let ignored = ["a.log", "private", "build/x", "src/a.tmp", "docs/x", "built/x"];
    for path in ignored.into_iter().chain(["not/there.log", "build/not/there", "src/new"]) {
        assert!(leaves_out(path), "{path}");
    }
}

#[test]
fn ignore_files_above_the_workspace_count_up_to_the_repository() {
    let tree = tree(&[
        (".gitignore", "c\n"),
        ("repo/.git/HEAD", ""),
        ("repo/.gitignore", "b\n/ws/a\n"),
        ("repo/ws/a", ""),
        ("repo/ws/b", ""),
        ("repo/ws/c", ""),
        ("repo/ws/sub/a", ""),
    ]);
    assert_eq!(sent(&tree.path().join("repo/ws"), &[], &[], &[]), ["c", "sub/a"]);
}

#[test]
fn ignore_files_count_only_in_a_repository() {
    let files = [
        (".gitignore", "b\n"),
        ("a/.gitignore", "c\n"),
        ("a/b", ""),
        ("a/c", ""),
        ("git/.git/HEAD", ""),
        ("git/.gitignore", "d\n"),
        ("git/b", ""),
        ("git/d", ""),
        ("jujutsu/.jj/repo/x", ""),
        ("jujutsu/.gitignore", ".jj\nd\n"),
        ("jujutsu/b", ""),
        ("jujutsu/d", ""),
    ];
    let tree = tree(&files);
    let expected = [
        ".gitignore",
        "a/.gitignore",
        "a/b",
        "a/c",
        "git/.gitignore",
        "git/b",
        "jujutsu/.gitignore",
        "jujutsu/b",
    ];
    assert_eq!(sent(tree.path(), &[], &[], &[]), expected);
    assert_eq!(sent(&tree.path().join("jujutsu"), &[], &[], &[]), [".gitignore", "b"]);
    fs::create_dir(tree.path().join("jujutsu/below")).unwrap();
    fs::write(tree.path().join("jujutsu/below/d"), "").unwrap();
    let below = tree.path().join("jujutsu/below");
    assert_eq!(sent(&below, &[], &[], &[]), [""; 0]);
}

#[test]
fn a_directory_that_git_ignores_is_sent_without_what_is_in_it() {
    let tree = tree(&[
        (".git/HEAD", ""),
        (".gitignore", "logs/\ntmp/*\nbuilt/\ntarget/\n"),
        ("logs/x", ""),
        ("tmp/x", ""),
        ("built/CACHEDIR.TAG", TAG),
        ("target/debug/x", ""),
        ("private/x", ""),
        ("node_modules/x", ""),
    ]);
    let never = HashSet::from([RelativePath::new(b"target").unwrap()]);
    let (rules, _) = IgnoreRules::new(tree.path(), &[], &["private/".into()], never, |_| None);
    let handle = RootDirectory::open(tree.path()).unwrap();
    let found =
        scan(&handle, None, &rules, &mut StatCache::default(), Moment::now(), &Tally::default())
            .unwrap();
    let names: Vec<_> = found.tree.entries().map(|(name, _)| name.as_bytes()).collect();
    assert_eq!(names, [&b".gitignore"[..], b"logs", b"tmp"]);
    assert_eq!(found.tree.count_files(), 1);
}

#[test]
fn directories_that_cargo_needs_are_sent_whole() {
    let tree = tree(&[
        (".git/HEAD", ""),
        (".gitignore", "*.o\n/vendor/a/out\n"),
        ("vendor/README", ""),
        ("vendor/notes/x", ""),
        ("vendor/a/.cargo-checksum.json", ""),
        ("vendor/a/.gitignore", "*\n"),
        ("vendor/a/.vscode/settings.json", ""),
        ("vendor/a/out/x.o", ""),
        ("vendor/a/target/CACHEDIR.TAG", TAG),
        ("vendor/index/config.json", ""),
        ("vendor/b-1.0.0.crate", ""),
        ("package/x.o", ""),
        ("package/.gitignore", "*\n"),
        ("package/.git/HEAD", ""),
        ("package/node_modules/x", ""),
        ("package/target/CACHEDIR.TAG", TAG),
        ("package/target/x", ""),
        ("package/x.bak", ""),
        ("package/out/x", ""),
    ]);
    let path = |text: &str| RelativePath::new(text.as_bytes()).unwrap();
    let paths = |found: &burst_protocol::tree::Directory| {
        let mut paths = Vec::new();
        found.visit(&mut |path, node| {
            if !matches!(node, burst_protocol::tree::Node::Directory(_)) {
                paths.push(path.display().to_string());
            }
        });
        paths
    };
    let never = HashSet::from([path("package/out")]);
    let (rules, _) = IgnoreRules::new(tree.path(), &[], &["*.bak".into()], never, |_| None);
    let rules = rules.with_registries(HashSet::from([path("vendor")]));
    let handle = RootDirectory::open(tree.path()).unwrap();
    let mut cache = StatCache::default();
    let found = scan(&handle, None, &rules, &mut cache, Moment::now(), &Tally::default()).unwrap();
    let vendored = [
        "vendor/a/.cargo-checksum.json",
        "vendor/a/.gitignore",
        "vendor/a/.vscode/settings.json",
        "vendor/a/out/x.o",
        "vendor/a/target/CACHEDIR.TAG",
        "vendor/b-1.0.0.crate",
        "vendor/index/config.json",
    ];
    let found = paths(&found.tree);
    let found = found.iter().filter(|path| path.starts_with("vendor/"));
    assert_eq!(found.collect::<Vec<_>>(), vendored.iter().collect::<Vec<_>>());
    let package = handle.subdirectory(&path("package")).unwrap();
    let whole = rules.whole(Some(path("package")), Whole::Package);
    let found = scan(
        &package,
        Some(&path("package")),
        &whole,
        &mut cache,
        Moment::now(),
        &Tally::default(),
    );
    assert_eq!(paths(&found.unwrap().tree), [".gitignore", "x.o"]);
}

#[test]
fn only_real_target_directories_are_skipped() {
    let tree = tree(&[
        ("src/target/mod.rs", ""),
        ("target/debug/x", ""),
        ("out/debug/x", ""),
        ("old/CACHEDIR.TAG", TAG),
        ("old/debug/x", ""),
    ]);
    assert_eq!(sent(tree.path(), &[], &[], &["target", "out"]), ["src/target/mod.rs"]);
    let unexcluded = sent(tree.path(), &["target"], &[], &["target", "out"]);
    assert_eq!(unexcluded, ["old/CACHEDIR.TAG", "old/debug/x", "src/target/mod.rs"]);
}

#[test]
fn braces_are_characters_and_classes_have_names() {
    let tree = tree(&[
        (".git/HEAD", ""),
        (".gitignore", "{{name}}/.env\n*.{a,b}\n}\nkey[[:digit:]_]\n[]{]x\n\\{y}\n"),
        ("{{name}}/.env", ""),
        ("name/.env", ""),
        ("x.a", ""),
        ("x.{a,b}", ""),
        ("}", ""),
        ("key1", ""),
        ("key_", ""),
        ("keys", ""),
        ("{x", ""),
        ("]x", ""),
        ("{y}", ""),
    ]);
    assert_eq!(sent(tree.path(), &[], &[], &[]), [".gitignore", "keys", "name/.env", "x.a"]);
}

#[test]
fn settings_change_the_excludes() {
    let tree = tree(&[
        (".git/HEAD", ""),
        (".gitignore", ".env\n"),
        (".env", ""),
        ("node_modules/x", ""),
        ("a.bak", ""),
        ("x.rs", ""),
        ("x.rs.from-burst", ""),
    ]);
    assert_eq!(sent(tree.path(), &[], &["*.bak", "!.env"], &[]), [".env", ".gitignore", "x.rs"]);
    let unexcluded = sent(tree.path(), &["node_modules/"], &[], &[]);
    assert_eq!(unexcluded, [".gitignore", "a.bak", "node_modules/x", "x.rs"]);
    let (_, warnings) =
        IgnoreRules::new(tree.path(), &["nope".into()], &[], HashSet::new(), |_| None);
    assert_eq!(warnings.len(), 1);
}

#[test]
fn rules_behind_links_and_pipes_are_not_read() {
    let disk = tree(&[("a/x", ""), ("b/x", ""), ("rules", "x\n")]);
    let tag = "Signature: 8a477f597d28d172789f06886806bc55 cargo";
    fs::write(disk.path().join("tag"), tag).unwrap();
    let link = |to: &str, at: &str| {
        std::os::unix::fs::symlink(to, disk.path().join(at)).unwrap();
    };
    link("/dev/zero", "a/CACHEDIR.TAG");
    link("../tag", "b/CACHEDIR.TAG");
    link("../rules", "b/.gitignore");
    fs::create_dir(disk.path().join(".git")).unwrap();
    fs::write(disk.path().join(".git/HEAD"), "").unwrap();
    let expected =
        ["a/CACHEDIR.TAG", "a/x", "b/.gitignore", "b/CACHEDIR.TAG", "b/x", "rules", "tag"];
    assert_eq!(sent(disk.path(), &[], &[], &[]), expected);
}

#[test]
fn a_conflict_has_paths_however_long_the_name_is() {
    let path = |text: &str| RelativePath::new(text.as_bytes()).unwrap();
    let first = |text: &str| conflict_paths(&path(text)).take(3).collect::<Vec<_>>();
    let expected = ["a/b.from-burst", "a/b.1.from-burst", "a/b.2.from-burst"].map(path);
    assert_eq!(first("a/b"), expected);
    assert_eq!(first("a/b.from-burst"), expected);
    for long in first(&format!("a/{}", "x".repeat(250))) {
        assert!(long.as_bytes().len() < 40 && long.as_bytes().ends_with(b".from-burst"));
    }
}
