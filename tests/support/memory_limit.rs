//! A limit of the memory of a process, as Kubernetes sets one: a control group of the kernel.

use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// The control group of one process. It is removed on drop, when the process has ended.
pub struct MemoryLimit {
    group: PathBuf,
}

impl MemoryLimit {
    /// Creates a control group with a limit. `None` if this machine does not allow it, which is printed: then nothing
    /// enforces the limit.
    pub fn new(mib: usize) -> Option<Self> {
        match Self::create(mib) {
            Ok(limit) => Some(limit),
            Err(error) => {
                eprintln!("SKIPPED: nothing enforces the limit of {mib} MiB: {error}");
                None
            }
        }
    }

    fn create(mib: usize) -> io::Result<Self> {
        // Version 1 of control groups has a tree for each resource.
        let first = Path::new("/sys/fs/cgroup/memory");
        let (root, file) = if first.exists() {
            (first, "memory.limit_in_bytes")
        } else {
            (Path::new("/sys/fs/cgroup"), "memory.max")
        };
        let group = root.join(format!("order-service-{}", Uuid::new_v4()));
        std::fs::create_dir(&group)?;
        let limit = Self { group };
        let file = limit.group.join(file);
        // A file system that is no tree of control groups would create the file.
        if !file.exists() {
            return Err(io::Error::other(format!("{} is missing", file.display())));
        }
        std::fs::write(file, (mib * 1024 * 1024).to_string())?;
        // Without swapping, a process that needs more is killed.
        for file in ["memory.swappiness", "memory.swap.max"] {
            let file = limit.group.join(file);
            if file.exists() {
                std::fs::write(file, "0")?;
            }
        }
        Ok(limit)
    }

    /// The file that moves the process to the group that writes its id to it.
    pub fn processes(&self) -> PathBuf {
        self.group.join("cgroup.procs")
    }

    /// How often the kernel has killed the process because it exceeded the limit.
    pub fn kills(&self) -> usize {
        let files = ["memory.oom_control", "memory.events"].map(|file| self.group.join(file));
        let text = files
            .iter()
            .find_map(|file| std::fs::read_to_string(file).ok())
            .unwrap();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.unwrap().parse().unwrap()
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // A group that could not get its limit may be a plain directory.
        let _ = std::fs::remove_dir(&self.group);
    }
}
