//! A full disk is the database's state, and not a defect of the service.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::support::database::{Cluster, Database};
use crate::support::eventually;
use crate::support::server::{Server, problem, slug};

/// A file system of its own, of some megabytes.
struct Small(TempDir);

impl Small {
    /// None when this user may not mount one.
    fn mount(megabytes: u32) -> Option<Self> {
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
            eprintln!("skipped: no right to mount a file system");
        }
        mounted.then_some(Self(dir))
    }

    fn filler(&self) -> std::path::PathBuf {
        self.0.path().join("filler")
    }

    /// Takes what is left but for `kilobytes`.
    fn fill_but(&self, kilobytes: u64) {
        let file = self.filler();
        let mut filler = std::fs::File::create(&file).unwrap();
        let mut length = 0_u64;
        while std::io::Write::write_all(&mut filler, &[1; 4096]).is_ok() {
            length += 4096;
        }
        filler.set_len(length - 1024 * kilobytes).unwrap();
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

async fn goes_on_after_a_full_disk(server: &Server, disk: &Small) {
    server.place("sku-1").await;
    disk.fill_but(64);
    let metadata: serde_json::Map<_, _> = (0..50)
        .map(|i| (format!("k{i}"), json!(format!("{i}").repeat(100))))
        .collect();
    let large = json!({"product_id": "sku-2", "quantity": 1, "metadata": metadata});
    let mut refused = None;
    for _ in 0..1000 {
        let answer = server.post(&large).await;
        if answer.status() != 201 {
            refused = Some(answer);
            break;
        }
    }
    // With `Retry-After`, as `problem` checks.
    let refused = problem(refused.expect("the disk is full"));
    assert_eq!(slug(&refused), "unavailable", "{refused}");
    assert_eq!(server.status("/api/v1/orders").await, 200);
    let metrics = server.scrape().await;
    assert!(
        metrics.contains("db_errors_total{kind=\"internal\"} 0"),
        "{metrics}"
    );
    disk.free();
    eventually("it goes on", Duration::from_secs(5), async || {
        server.post(&large).await.status() == 201
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_goes_on_after_a_full_disk() {
    let Some(disk) = Small::mount(4) else { return };
    let url = format!("sqlite://{}", disk.0.path().join("orders.db").display());
    let server = Server::spawn(&[("DATABASE_URL", &url)]).await;
    goes_on_after_a_full_disk(&server, &disk).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_goes_on_after_a_full_disk() {
    let Some(disk) = Small::mount(8) else { return };
    let cluster = Cluster::start();
    let database = Database::postgres_in(cluster.url.clone()).await;
    let server = Server::start(&database, &[]).await;
    let place = disk.0.path().join("space");
    std::fs::create_dir(&place).unwrap();
    give(&place, &cluster);
    let admin = database.client().await;
    let tablespace = format!("CREATE TABLESPACE small LOCATION '{}'", place.display());
    admin.batch_execute(&tablespace).await.unwrap();
    for table in ["orders", "events"] {
        let moved = format!("ALTER TABLE {table} SET TABLESPACE small");
        admin.batch_execute(&moved).await.unwrap();
    }
    goes_on_after_a_full_disk(&server, &disk).await;
    let back = "ALTER TABLE orders SET TABLESPACE pg_default;
        ALTER TABLE events SET TABLESPACE pg_default";
    admin.batch_execute(back).await.unwrap();
}

/// Lets the user of the server write here.
fn give(place: &Path, cluster: &Cluster) {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let of = std::fs::metadata(cluster.data()).unwrap();
    chown(place, Some(of.uid()), Some(of.gid())).unwrap();
}
