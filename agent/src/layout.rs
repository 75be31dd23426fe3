//! Where a run sees what: mounts, directories, environment.
//!
//! With namespaces everything is at the client's own absolute paths. Without them
//! the run happens below the agent's directory, and cargo is told of the target
//! directory by variable; diagnostics then show the agent's paths, which the user
//! is told once.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use burst_protocol::message::RunRequest;
use burst_protocol::{ByteBuf, RelativePath};

use crate::error::{AgentError, FileOperation};
use crate::host::{self, BuildUser, Host, INSIDE};
use crate::project::Project;
use crate::run::spec::{self, Mount};
use crate::volume::MOUNT_ROOT;

/// Where a run sees what.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Bind mounts, in order.
    pub(crate) mounts: Vec<Mount>,
    /// Directories that no mount may cover.
    pub(crate) preserve: Vec<ByteBuf>,
    /// Directories that runs see empty.
    pub(crate) hide: Vec<ByteBuf>,
    /// Whom the run runs as, and that user's group; none: as the agent.
    pub(crate) user: Option<(u32, u32)>,
    /// Where cargo starts.
    pub(crate) working_directory: PathBuf,
    /// The target directory on the agent's disk.
    pub(crate) target: PathBuf,
    /// The target directory as cargo sees it.
    pub(crate) target_seen: PathBuf,
    /// The whole environment.
    pub(crate) environment: Vec<(ByteBuf, ByteBuf)>,
    /// Whether `--target-dir` has to be taken out of the arguments.
    pub(crate) drops_target_argument: bool,
    /// What the user should know.
    pub(crate) notice: Option<String>,
}

impl Layout {
    /// Lays out a run.
    pub(crate) fn new(
        host: &Host,
        request: &RunRequest,
        project: &mut Project,
    ) -> Result<Self, AgentError> {
        let target = project.target(&request.target_directory)?;
        let keeps_paths = host.containment().keeps_paths();
        let own = host
            .build_user()
            .map(|user| ServerDirectories::new(user, request, project))
            .transpose()?;
        let mut layout = Self {
            mounts: Vec::new(),
            preserve: Vec::new(),
            hide: Vec::new(),
            user: None,
            working_directory: client_path(&request.working_directory),
            target_seen: client_path(&request.target_directory),
            environment: environment(host, request),
            drops_target_argument: false,
            notice: None,
            target,
        };
        if keeps_paths {
            layout.use_client_paths(request, project, own.as_ref());
        } else {
            layout.use_agent_paths(request, project);
        }
        Ok(layout)
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
            for (source, target) in &own.mounts {
                let (source, target) = (spec::path_bytes(source), spec::path_bytes(target));
                self.mounts.push(Mount { source, target });
            }
            self.set("HOME", own.home.as_os_str());
            for name in ["USER", "LOGNAME"] {
                self.set(name, OsStr::new("build"));
            }
            // cargo's home is the project's own, at the client's path.
            homes.remove(0);
            if let Some(cargo_home) = &own.cargo_home {
                self.set("CARGO_HOME", cargo_home.as_os_str());
                homes.push(cargo_home.clone());
            }
            self.hide = vec![spec::path_bytes(Path::new(MOUNT_ROOT))];
            self.user = Some(own.user);
        }
        for mount in &request.mounts {
            let source = spec::path_bytes(&join(&tree, mount));
            self.mounts.push(Mount { source, target: spec::path_bytes(&client_path(mount)) });
        }
        self.preserve = homes.iter().map(|home| spec::path_bytes(home)).collect();
        self.mounts.push(Mount {
            source: spec::path_bytes(&self.target),
            target: spec::path_bytes(&self.target_seen),
        });
        // What is mounted inside the tree is not the tree's own.
        let inside = homes.iter().chain([&self.target_seen]);
        for path in
            inside.filter_map(|path| RelativePath::below_root(path.as_os_str().as_bytes()).ok())
        {
            if request.mounts.iter().any(|mount| path.below(mount).is_some()) {
                project.add_mount_point(path);
            }
        }
        if request.names_target_directory {
            self.set("CARGO_TARGET_DIR", self.target_seen.clone().as_os_str());
        }
    }

    fn use_agent_paths(&mut self, request: &RunRequest, project: &Project) {
        let tree = project.tree();
        self.working_directory = join(&tree, &request.working_directory);
        self.target_seen.clone_from(&self.target);
        self.drops_target_argument = true;
        self.set("CARGO_TARGET_DIR", self.target.clone().as_os_str());
        self.notice = Some(format!(
            "namespaces are not allowed on this machine, so cargo runs in `{}` and messages \
             show that path",
            self.working_directory.display()
        ));
    }

    fn set(&mut self, name: &str, value: &OsStr) {
        self.environment.retain(|(other, _)| other.as_slice() != name.as_bytes());
        self.environment.push((ByteBuf::from(name.as_bytes()), spec::os_bytes(value)));
    }
}

/// What a project has for itself on a server: homes and a place for temporary files, on
/// its own volume.
struct ServerDirectories {
    mounts: Vec<(PathBuf, PathBuf)>,
    home: PathBuf,
    cargo_home: Option<PathBuf>,
    user: (u32, u32),
}

impl ServerDirectories {
    fn new(user: &BuildUser, request: &RunRequest, project: &Project) -> Result<Self, AgentError> {
        let volume =
            project.directory().parent().unwrap_or_else(|| Path::new(MOUNT_ROOT)).to_owned();
        let cargo_home = request.cargo_home.as_ref().map(client_path);
        let mut mounts = vec![("home", user.home.clone()), ("tmp", PathBuf::from("/tmp"))];
        mounts.extend(cargo_home.clone().map(|path| ("cargo-home", path)));
        let mut mounted = Vec::new();
        for (name, target) in mounts {
            let source = volume.join(name);
            std::fs::create_dir_all(&source)
                .map_err(AgentError::file(FileOperation::CreateDirectory, &source))?;
            mounted.push((source, target));
        }
        let user_ids = (user.uid.as_raw(), user.gid.as_raw());
        Ok(Self { mounts: mounted, home: user.home.clone(), cargo_home, user: user_ids })
    }
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
    if let Some(name) = terminal.name.as_ref().filter(|_| terminal.output || terminal.error) {
        add("TERM", name);
    }
    for (name, value) in &request.environment {
        environment.retain(|(other, _)| other != name);
        environment.push((name.clone(), value.clone()));
    }
    environment
}

fn client_path(path: &RelativePath) -> PathBuf {
    join(Path::new("/"), path)
}

fn join(root: &Path, path: &RelativePath) -> PathBuf {
    root.join(OsStr::from_bytes(path.as_bytes()))
}
