//! A PostgreSQL cluster for one test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::database::Database;

/// A cluster of one test, for faults that would disturb other tests. It stops on drop.
pub struct Cluster {
    dir: TempDir,
    pub url: String,
}

impl Cluster {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a cluster with these variables of the script and the server: `POSTGRES_CONF`, `LOCPATH`.
    pub fn start_with(variables: &[(&str, &str)]) -> Self {
        Self::start_at(reachable_dir(), variables)
    }

    fn start_at(dir: TempDir, variables: &[(&str, &str)]) -> Self {
        let url = script_with(
            &["start", dir.path().join("pg").to_str().unwrap()],
            variables,
        );
        Self { dir, url }
    }

    /// Starts a cluster whose data is below this directory, which every user may enter.
    pub fn start_in(parent: &Path, variables: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir_in(parent).unwrap();
        Self::start_at(reachable(dir), variables)
    }

    /// A new database in this cluster.
    pub async fn database(&self) -> Database {
        Database::postgres_in(self.url.clone()).await
    }

    /// A second server that replicates this one.
    pub fn standby(&self) -> Self {
        let dir = reachable_dir();
        let (from, to) = (self.path(), dir.path().join("pg"));
        let url = script(&["standby", from.to_str().unwrap(), to.to_str().unwrap()]);
        Self { dir, url }
    }

    /// Promotes a standby to a primary.
    pub fn promote(&self) {
        script(&["promote", self.path().to_str().unwrap()]);
    }

    /// The server's log so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path().join("log")).unwrap()).into_owned()
    }

    /// The port of the server.
    pub fn port(&self) -> u16 {
        let (address, _) = self.url.rsplit_once('/').unwrap();
        address.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("pg")
    }

    /// Shuts the server down (mode `fast`): a standby receives every record first.
    pub fn shut_down(&self) {
        script(&["stop", self.path().to_str().unwrap(), "fast"]);
    }

    /// Stops the server without a checkpoint (mode `immediate`), as a crash does.
    pub fn crash(&self) {
        script(&["stop", self.path().to_str().unwrap(), "immediate"]);
    }

    pub fn start_again(&self) {
        script(&["up", self.path().to_str().unwrap()]);
    }

    /// Starts the server if it has shut down by itself.
    pub fn start_if_down(&self) {
        let up = Command::new(script_path())
            .args(["up", self.path().to_str().unwrap()])
            .output()
            .unwrap();
        assert!(up.status.success() || self.is_up(), "{up:?}");
    }

    /// Whether the process that the lock file names exists.
    fn is_up(&self) -> bool {
        let file = std::fs::read_to_string(self.data().join("postmaster.pid"));
        let pid = file
            .ok()
            .and_then(|it| it.lines().next().map(str::to_owned));
        pid.is_some_and(|pid| Path::new("/proc").join(pid).exists())
    }

    /// Sends a signal, such as SIGSTOP, to every process of the server.
    pub fn signal(&self, signal: i32) {
        let file = std::fs::read_to_string(self.path().join("data/postmaster.pid")).unwrap();
        let postmaster: i32 = file.lines().next().unwrap().parse().unwrap();
        let children = Command::new("pgrep")
            .args(["-P", &postmaster.to_string()])
            .output()
            .unwrap();
        let children = String::from_utf8(children.stdout).unwrap();
        let postmaster = postmaster.to_string();
        for pid in children.lines().chain([postmaster.as_str()]) {
            // An autovacuum worker may have exited since.
            let signal = format!("-{signal}");
            let _ = Command::new("kill").args([signal.as_str(), pid]).status();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.path().join("data/postmaster.pid").exists() {
            self.signal(libc::SIGCONT);
        }
        let _ = Command::new(script_path())
            .args(["stop", self.path().to_str().unwrap(), "immediate"])
            .stderr(Stdio::null())
            .status();
    }
}

/// A directory that the user who runs PostgreSQL can reach.
fn reachable_dir() -> TempDir {
    reachable(tempfile::tempdir().unwrap())
}

fn reachable(dir: TempDir) -> TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    dir
}

fn script_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/postgres.sh")
}

fn script(args: &[&str]) -> String {
    script_with(args, &[])
}

fn script_with(args: &[&str], variables: &[(&str, &str)]) -> String {
    let out = Command::new(script_path())
        .args(args)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(out.status.success(), "{args:?}: {out:?}");
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}
