//! Programs that were fetched and cannot run on this machine.
//!
//! A server has Linux on x86-64, and perhaps a newer glibc than this machine. What a program needs
//! is read from its ELF headers; [`Machine::obstacle`] is a pure function of that and of what is
//! here. Programs for a platform that was named are not looked at: they lie in its directory.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use burst_protocol::RelativePath;
use object::elf::{FileHeader64, PT_INTERP, VER_FLG_WEAK};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, ReadCache, ReadRef};

/// A version of glibc, as in 2.36.
type GlibcVersion = (u32, u32);

/// What a program needs.
#[derive(Debug, PartialEq, Eq)]
struct Program {
    /// The machine, by its number in ELF.
    machine: u16,
    /// The loader of dynamic libraries; none for a static program.
    loader: Option<String>,
    /// The oldest glibc that has everything.
    glibc: Option<GlibcVersion>,
}

/// What is here.
struct Machine<'a> {
    /// The operating system and the architecture, by the names of Rust.
    system: &'a str,
    architecture: &'a str,
    /// The version of glibc; none if there is none.
    glibc: &'a dyn Fn() -> Option<GlibcVersion>,
    /// Whether a file exists.
    has: &'a dyn Fn(&str) -> bool,
}

/// A warning about the first of these files of the target directory that cannot run here, with the
/// number of others. `profile` is the directory of programs for no platform that was named.
pub(super) fn warning(target: &Path, written: &[RelativePath], profile: &[u8]) -> Option<String> {
    let has = |path: &str| Path::new(path).exists();
    let machine = Machine {
        system: std::env::consts::OS,
        architecture: std::env::consts::ARCH,
        glibc: &glibc_here,
        has: &has,
    };
    let mut found = written.iter().filter(|path| is_of_profile(path, profile)).filter_map(|path| {
        let program = read(&path.in_directory(target))?;
        Some((path, machine.obstacle(&program)?))
    });
    let (path, obstacle) = found.next()?;
    let others = match found.count() {
        0 => String::new(),
        others => format!(" (and {others} more)"),
    };
    Some(format!("`{}`{others} cannot run here: {obstacle}", path.in_directory(target).display()))
}

/// Whether a file is one that cargo has put in place in the directory of a profile, or of its
/// examples.
fn is_of_profile(path: &RelativePath, profile: &[u8]) -> bool {
    let names: Vec<&[u8]> = path.names().collect();
    match names.as_slice() {
        [first, _] => *first == profile,
        [first, b"examples", _] => *first == profile,
        _ => false,
    }
}

impl Machine<'_> {
    /// Why a program cannot run here, and what helps.
    fn obstacle(&self, program: &Program) -> Option<String> {
        let architecture = name_of(program.machine);
        if self.system != "linux" || architecture != self.architecture {
            return Some(format!(
                "it is a program for Linux on {architecture}, and this is {} on {}; `--fetch none` \
                 leaves it where it runs, and `--target` builds for another platform",
                name_of_system(self.system),
                self.architecture
            ));
        }
        let needed = program.glibc?;
        const HELP: &str = "`--target x86_64-unknown-linux-musl` needs none, an image with an \
                            older one does, too";
        match (self.glibc)() {
            Some(here) if here < needed => Some(format!(
                "it needs glibc {}.{}, and here is {}.{}; {HELP}",
                needed.0, needed.1, here.0, here.1
            )),
            Some(_) => None,
            None => {
                let loader = program.loader.as_deref()?;
                (!(self.has)(loader))
                    .then(|| format!("it needs glibc, whose loader `{loader}` is not here; {HELP}"))
            }
        }
    }
}

/// The architecture of a number in ELF, by the name of Rust.
fn name_of(machine: u16) -> String {
    use object::elf::{EM_386, EM_AARCH64, EM_ARM, EM_LOONGARCH, EM_PPC64, EM_RISCV, EM_X86_64};
    let known = match machine {
        EM_386 => "x86",
        EM_AARCH64 => "aarch64",
        EM_ARM => "arm",
        EM_LOONGARCH => "loongarch64",
        EM_PPC64 => "powerpc64",
        EM_RISCV => "riscv64",
        EM_X86_64 => "x86_64",
        other => return format!("machine {other}"),
    };
    known.to_owned()
}

fn name_of_system(system: &str) -> &str {
    match system {
        "linux" => "Linux",
        "macos" => "macOS",
        other => other,
    }
}

/// What a program needs; none if the file is no ELF program, or cannot be read.
fn read(path: &Path) -> Option<Program> {
    let file = File::open(path).ok()?;
    let mode = file.metadata().ok()?.permissions().mode();
    (mode & 0o111 != 0).then(|| parse(&ReadCache::new(file))).flatten()
}

fn parse<'data, R: ReadRef<'data>>(data: R) -> Option<Program> {
    let header = FileHeader64::<Endianness>::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let programs = header.program_headers(endian, data).ok()?;
    let loader = programs.iter().find(|one| one.p_type(endian) == PT_INTERP);
    let loader = loader.and_then(|loader| loader.data(endian, data).ok());
    let loader = loader.map(|text| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
    let glibc = needed_glibc(header, endian, data);
    Some(Program { machine: header.e_machine(endian), loader, glibc })
}

/// The highest version of glibc that a program names as needed.
fn needed_glibc<'data, R: ReadRef<'data>>(
    header: &FileHeader64<Endianness>,
    endian: Endianness,
    data: R,
) -> Option<GlibcVersion> {
    let sections = header.sections(endian, data).ok()?;
    let (mut libraries, link) = sections.gnu_verneed(endian, data).ok()??;
    let names = sections.strings(endian, data, link).ok()?;
    let mut highest = None;
    while let Ok(Some((_, mut versions))) = libraries.next() {
        while let Ok(Some(version)) = versions.next() {
            let is_weak = version.vna_flags.get(endian) & VER_FLG_WEAK != 0;
            let name = version.name(endian, names).ok().filter(|_| !is_weak);
            highest = highest.max(name.and_then(|name| version_of(name, "GLIBC_")));
        }
    }
    highest
}

/// The version behind a prefix: of `GLIBC_2.34` and `glibc 2.36`.
fn version_of(text: &[u8], prefix: &str) -> Option<GlibcVersion> {
    let text = std::str::from_utf8(text).ok()?.trim().strip_prefix(prefix)?;
    let mut numbers = text.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The version of glibc here, as `getconf` says.
fn glibc_here() -> Option<GlibcVersion> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    version_of(&said.stdout, "glibc ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: Program = Program { machine: 62, loader: None, glibc: None };

    fn obstacle(
        (system, architecture): (&str, &str),
        glibc: Option<GlibcVersion>,
        program: &Program,
    ) -> Option<String> {
        let glibc = || glibc;
        let has = |path: &str| path == "/lib64/ld-linux-x86-64.so.2";
        Machine { system, architecture, glibc: &glibc, has: &has }.obstacle(program)
    }

    #[test]
    fn programs_of_another_platform_cannot_run_here() {
        assert_eq!(
            obstacle(("macos", "aarch64"), None, &PROGRAM).unwrap(),
            "it is a program for Linux on x86_64, and this is macOS on aarch64; `--fetch none` \
             leaves it where it runs, and `--target` builds for another platform"
        );
        assert!(obstacle(("macos", "x86_64"), None, &PROGRAM).is_some());
        assert!(obstacle(("linux", "aarch64"), Some((2, 99)), &PROGRAM).is_some());
        let other = Program { machine: 4711, ..PROGRAM };
        let said = obstacle(("linux", "x86_64"), None, &other).unwrap();
        assert!(said.starts_with("it is a program for Linux on machine 4711, and"), "{said}");
    }

    #[test]
    fn programs_that_need_a_newer_glibc_cannot_run_here() {
        let here = ("linux", "x86_64");
        let loader = Some("/lib64/ld-linux-x86-64.so.2".to_owned());
        let program = Program { loader, glibc: Some((2, 38)), ..PROGRAM };
        assert_eq!(
            obstacle(here, Some((2, 36)), &program).unwrap(),
            "it needs glibc 2.38, and here is 2.36; `--target x86_64-unknown-linux-musl` needs \
             none, an image with an older one does, too"
        );
        for glibc in [Some((2, 38)), Some((2, 100)), Some((3, 0)), None] {
            assert_eq!(obstacle(here, glibc, &program), None);
        }
        assert_eq!(obstacle(here, None, &PROGRAM), None);
        let elsewhere = Program { loader: Some("/nix/ld.so".into()), ..program };
        assert_eq!(
            obstacle(here, None, &elsewhere).unwrap(),
            "it needs glibc, whose loader `/nix/ld.so` is not here; `--target \
             x86_64-unknown-linux-musl` needs none, an image with an older one does, too"
        );
    }

    #[test]
    fn what_a_program_needs_is_read_from_it() {
        let itself = read(&std::env::current_exe().unwrap()).unwrap();
        assert_eq!(name_of(itself.machine), std::env::consts::ARCH);
        if cfg!(target_env = "gnu") {
            let (needed, here) = (itself.glibc.unwrap(), glibc_here().unwrap());
            assert!((2, 0) < needed && needed <= here, "{needed:?} {here:?}");
            assert!(Path::new(&itself.loader.unwrap()).exists());
        }
        let disk = tempfile::tempdir().unwrap();
        let script = disk.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(read(&script), None);
        assert_eq!(version_of(b"GLIBC_PRIVATE", "GLIBC_"), None);
    }

    #[test]
    fn programs_for_named_platforms_and_of_cargo_are_not_looked_at() {
        let is = |path: &str| is_of_profile(&RelativePath::new(path.as_bytes()).unwrap(), b"debug");
        assert!(is("debug/app") && is("debug/examples/show"));
        for path in ["x86_64-unknown-linux-musl/debug/app", "debug/deps/app-1", "release/app"] {
            assert!(!is(path), "{path}");
        }
    }
}
