//! A file system that is full soon.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A file system of a few megabytes. It is unmounted on drop.
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// Mounts a file system; `None` when this user may not mount.
    pub fn mount(megabytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={megabytes}m,mode=777"),
                "tmpfs",
            ])
            .arg(dir.path())
            .status()
            .is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("skipped: this user may not mount a file system");
        }
        mounted.then_some(Self(dir))
    }

    /// The directory of the file system.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }

    /// Fills the file system except for `kilobytes`.
    pub fn fill_except(&self, kilobytes: u64) {
        let mut filler = std::fs::File::create(self.filler()).unwrap();
        let mut length = 0_u64;
        while std::io::Write::write_all(&mut filler, &[1; 4096]).is_ok() {
            length += 4096;
        }
        filler.set_len(length - 1024 * kilobytes).unwrap();
    }

    /// Makes the space free again.
    pub fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
