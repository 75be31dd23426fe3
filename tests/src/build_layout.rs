//! The layouts of cargo's build directory.

use crate::Sandbox;

/// A layout of cargo's build directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildLayout {
    /// By kind of file: `.fingerprint/`, `deps/`, `build/`.
    Classic,
    /// By unit: `build/PACKAGE/HASH/`, the default since cargo 1.100.
    ByUnit,
}

impl Sandbox {
    /// Has cargo use this layout in all further commands, here and on the agent.
    #[must_use]
    pub fn with_layout(self, layout: BuildLayout) -> Self {
        const BOOTSTRAP: &str = "RUSTC_BOOTSTRAP";
        const NEW_LAYOUT: &str = "CARGO_UNSTABLE_BUILD_DIR_NEW_LAYOUT";
        match layout {
            BuildLayout::Classic => self,
            BuildLayout::ByUnit => self
                .with(BOOTSTRAP, "1")
                .with(NEW_LAYOUT, "true")
                .with("CARGO_BURST_FORWARD_ENV", format!("{BOOTSTRAP},{NEW_LAYOUT}")),
        }
    }

    /// Whether the agent's target directories have this layout; fails if they have neither.
    #[track_caller]
    pub fn assert_layout(&self, project: &std::path::Path, layout: BuildLayout) {
        let directory = self.agent_project(project).join("targets");
        let profiles: Vec<_> = std::fs::read_dir(directory)
            .expect("target directories")
            .map(|entry| entry.expect("an entry").path().join("debug"))
            .collect();
        assert!(!profiles.is_empty());
        for profile in profiles {
            let is_classic = profile.join(".fingerprint").exists();
            assert_eq!(is_classic, layout == BuildLayout::Classic, "{}", profile.display());
        }
    }
}
