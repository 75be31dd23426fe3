//! The mounts, directories and environment of a run.
//!
//! With namespaces a run sees everything at the client's absolute paths. Without them it
//! happens below the agent's own directory, cargo gets the target directory by environment
//! variable, and diagnostics show the agent's paths, of which the user is told once.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use burst_protocol::message::RunRequest;
use burst_protocol::{ByteBuf, RelativePath};

use crate::error::{AgentError, FileOperation};
use crate::host::{self, BuildUser, Host, INSIDE};
use crate::project::Project;
use crate::run::spec::{self, Mount, RunSpec};
use crate::volume::MOUNT_ROOT;

/// The project's own cargo home on its volume.
const CARGO_HOME: &str = "cargo-home";

/// The variable by which cargo is told of its target directory.
const TARGET_DIRECTORY: &str = "CARGO_TARGET_DIR";

/// The variable by which cargo is told of its build directory.
const BUILD_DIRECTORY: &str = "CARGO_BUILD_BUILD_DIR";

/// The directories for temporary files, on the volume and as runs see them.
const TEMPORARY: [(&str, &str); 2] = [("tmp", "/tmp"), ("var-tmp", "/var/tmp")];

/// Their mode, which programs check.
const WRITABLE_BY_ALL: u32 = 0o1777;

/// The mounts, directories and environment of a run.
#[derive(Debug)]
pub(crate) struct Layout {
    /// The run, to which each call adds its command.
    pub(crate) spec: RunSpec,
    /// The target directory on the agent's disk.
    pub(crate) target: PathBuf,
    /// The path at which cargo sees it.
    pub(crate) target_seen: PathBuf,
    /// The build directory on the agent's disk, and where cargo sees it; none if it is the
    /// target directory.
    build: Option<(PathBuf, PathBuf)>,
    /// Whether `--target-dir` is removed from the arguments.
    pub(crate) drops_target_argument: bool,
    /// A message for the user.
    pub(crate) notice: Option<String>,
}

impl Layout {
    /// The layout of a run. Creates its target directory and, on a server, its homes.
    pub(crate) fn new(
        host: &Host,
        request: &RunRequest,
        project: &mut Project,
    ) -> Result<Self, AgentError> {
        let target = project.target(&request.target_directory)?;
        let build = request.build_directory.as_ref();
        let build = build
            .map(|seen_at| Ok::<_, AgentError>((project.target(seen_at)?, seen_at.absolute())));
        let build = build.transpose()?;
        let keeps_paths = host.containment().keeps_paths();
        if host.build_user().is_some() && !keeps_paths {
            return Err(AgentError::Contain("this server does not allow namespaces".into()));
        }
        let own = host
            .build_user()
            .map(|user| ServerDirectories::new(user, request, project))
            .transpose()?;
        let mut layout = Self {
            spec: RunSpec {
                mounts: Vec::new(),
                preserve: Vec::new(),
                hide: Vec::new(),
                user: None,
                groups: Vec::new(),
                open_files: host.open_files(),
                working_directory: spec::path_bytes(&working_directory(request, Path::new("/"))),
                command: Vec::new(),
                environment: environment(host, request),
                umask: request.umask,
                ignored_signals: request.ignored_signals.clone(),
            },
            target_seen: request.target_directory.absolute(),
            drops_target_argument: false,
            notice: host.notice(),
            target,
            build,
        };
        if keeps_paths {
            layout.use_client_paths(request, project, own.as_ref());
        } else {
            layout.use_agent_paths(request, project);
        }
        // As a shell sets it.
        layout.set("PWD", spec::path(&layout.spec.working_directory).as_os_str());
        Ok(layout)
    }

    /// The directories that cargo builds in: on the agent's disk, where cargo sees them, and
    /// the variables that name them.
    pub(crate) fn built(&self) -> impl Iterator<Item = (&Path, &Path, &'static str)> {
        let target = (self.target.as_path(), self.target_seen.as_path(), TARGET_DIRECTORY);
        let build = self.build.as_ref();
        let build =
            build.map(|(path, seen_at)| (path.as_path(), seen_at.as_path(), BUILD_DIRECTORY));
        std::iter::once(target).chain(build)
    }

    fn use_client_paths(
        &mut self,
        request: &RunRequest,
        project: &mut Project,
        own: Option<&ServerDirectories>,
    ) {
        let tree = project.tree();
        let mut homes = vec![host::cargo_home(), host::rustup_home()];
        if let Some(own) = own {
            for (root, target) in &own.mounts {
                let (root, target) = (spec::path_bytes(root), spec::path_bytes(target));
                self.spec.mounts.push(Mount { root, source: ByteBuf::new(), target });
            }
            self.set("HOME", own.home.as_os_str());
            for name in ["USER", "LOGNAME"] {
                self.set(name, OsStr::new("build"));
            }
            // Each project has a cargo home of its own, at the path of the client's.
            homes.remove(0);
            if let Some(cargo_home) = &own.cargo_home {
                self.set("CARGO_HOME", cargo_home.as_os_str());
                homes.push(cargo_home.clone());
            }
            self.spec.hide = vec![spec::path_bytes(Path::new(MOUNT_ROOT))];
            self.spec.user = Some(own.user);
        }
        for mount in &request.mounts {
            self.spec.mounts.push(Mount {
                root: spec::path_bytes(&tree),
                source: ByteBuf::from(mount.as_bytes()),
                target: spec::path_bytes(&mount.absolute()),
            });
        }
        self.spec.preserve = homes.iter().map(|home| spec::path_bytes(home)).collect();
        let root = project.directory();
        // The build directory may contain the target directory.
        let mut built: Vec<Mount> = self
            .built()
            .map(|(directory, seen_at, _)| Mount {
                root: spec::path_bytes(root),
                source: spec::path_bytes(directory.strip_prefix(root).unwrap_or(directory)),
                target: spec::path_bytes(seen_at),
            })
            .collect();
        built.reverse();
        self.spec.mounts.append(&mut built);
        // Files below a mount point inside the tree do not belong to the tree.
        let build = self.build.as_ref().map(|(_, seen_at)| seen_at);
        let inside = homes.iter().chain([&self.target_seen]).chain(build);
        for path in
            inside.filter_map(|path| RelativePath::below_root(path.as_os_str().as_bytes()).ok())
        {
            if request.mounts.iter().any(|mount| path.below(mount).is_some()) {
                project.add_mount_point(path);
            }
        }
        if request.names_target_directory {
            self.set(TARGET_DIRECTORY, self.target_seen.clone().as_os_str());
        }
        if let Some((_, seen_at)) = self.build.clone() {
            self.set(BUILD_DIRECTORY, seen_at.as_os_str());
        }
    }

    fn use_agent_paths(&mut self, request: &RunRequest, project: &Project) {
        let directory = working_directory(request, &project.tree());
        self.spec.working_directory = spec::path_bytes(&directory);
        self.target_seen.clone_from(&self.target);
        self.drops_target_argument = true;
        self.set(TARGET_DIRECTORY, self.target.clone().as_os_str());
        // A build directory of the client's configuration is not found here.
        let build = self.build.take().map_or_else(|| self.target.clone(), |(build, _)| build);
        self.set(BUILD_DIRECTORY, build.as_os_str());
        self.notice = Some(format!(
            "namespaces are not allowed on this machine, so cargo runs in `{}` and messages \
             show that path",
            directory.display()
        ));
    }

    fn set(&mut self, name: &str, value: &OsStr) {
        self.spec.set_variable(name, value);
    }
}

/// The working directory, where `/` of the client is `root`.
fn working_directory(request: &RunRequest, root: &Path) -> PathBuf {
    match &request.working_directory {
        Some(below) => below.in_directory(root),
        None => root.to_owned(),
    }
}

/// The directories that a project has for itself on its volume: homes, `/tmp` and `/var/tmp`,
/// which two runs at once share, as two commands on one machine do.
struct ServerDirectories {
    mounts: Vec<(PathBuf, PathBuf)>,
    home: PathBuf,
    cargo_home: Option<PathBuf>,
    user: (u32, u32),
}

impl ServerDirectories {
    fn new(user: &BuildUser, request: &RunRequest, project: &Project) -> Result<Self, AgentError> {
        let cargo_home = request.cargo_home.as_ref().map(RelativePath::absolute);
        let mut mounts = vec![("home", user.home.clone())];
        mounts.extend(TEMPORARY.map(|(name, path)| (name, PathBuf::from(path))));
        mounts.extend(cargo_home.clone().map(|path| (CARGO_HOME, path)));
        let mut mounted = Vec::new();
        for (name, target) in mounts {
            let source = on_volume(project, name);
            std::fs::create_dir_all(&source)
                .map_err(AgentError::file(FileOperation::CreateDirectory, &source))?;
            if TEMPORARY.iter().any(|(other, _)| *other == name) {
                std::fs::set_permissions(&source, Permissions::from_mode(WRITABLE_BY_ALL))
                    .map_err(AgentError::file(FileOperation::Write, &source))?;
            }
            mounted.push((source, target));
        }
        let user_ids = (user.uid.as_raw(), user.gid.as_raw());
        Ok(Self { mounts: mounted, home: user.home.clone(), cargo_home, user: user_ids })
    }
}

/// Places what the client has sent of its cargo home into the project's own, on a server.
pub(crate) fn fill_cargo_home(
    host: &Host,
    request: &RunRequest,
    project: &Project,
) -> Result<(), AgentError> {
    match &request.cargo_home {
        Some(seen_at) if host.build_user().is_some() => {
            project.fill_cargo_home(seen_at, &on_volume(project, CARGO_HOME))
        }
        _ => Ok(()),
    }
}

/// A directory beside that of the project on its volume.
fn on_volume(project: &Project, name: &str) -> PathBuf {
    let volume = project.directory().parent().unwrap_or_else(|| Path::new(MOUNT_ROOT));
    volume.join(name)
}

fn environment(host: &Host, request: &RunRequest) -> Vec<(ByteBuf, ByteBuf)> {
    let mut environment: Vec<(ByteBuf, ByteBuf)> = host.environment().to_vec();
    let mut add = |name: &str, value: &str| {
        environment.push((ByteBuf::from(name.as_bytes()), ByteBuf::from(value.as_bytes())));
    };
    add(INSIDE, "1");
    if let Some(toolchain) = &request.toolchain {
        add("RUSTUP_TOOLCHAIN", toolchain);
    }
    let terminal = &request.terminal;
    let shows = terminal.output || terminal.error || terminal.control.is_some();
    if let Some(name) = terminal.name.as_ref().filter(|_| shows) {
        add("TERM", name);
    }
    for (name, value) in &request.environment {
        environment.retain(|(other, _)| other != name);
        environment.push((name.clone(), value.clone()));
    }
    environment
}
