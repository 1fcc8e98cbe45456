//! A small file system of a test's own.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::host::skip;

/// Mounted as long as this lives.
pub struct Volume(PathBuf);

impl Volume {
    /// A tmpfs of `size` (`2600k`) at this directory; `None` where mounting is
    /// not allowed.
    pub fn mount(at: &Path, size: &str) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "walkeep-test"])
            .arg(at)
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            skip(
                "a small tmpfs",
                "run the tests as root, where mounting is allowed",
            );
        }
        mounted.then(|| Volume(at.to_owned()))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Lazily: nothing that still looks at it may keep the directory.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
