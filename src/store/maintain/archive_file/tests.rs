use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use chrono::DateTime;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;

fn line(id: Uuid) -> String {
    format!(r#"{{"id":"{id}","version":2}}"#)
}

fn text(ids: &[Uuid]) -> String {
    ids.iter().map(|id| format!("{}\n", line(*id))).collect()
}

fn archive_in(dir: &TempDir) -> ArchiveDirectory {
    ArchiveDirectory::new(dir.path(), DatabaseId::of(b"key"))
}

fn name(first: Uuid) -> FileName {
    FileName::new(&Tenant::default(), first, DateTime::UNIX_EPOCH)
}

/// Writes a pending file with an order for each of these ids.
fn write(directory: &ArchiveDirectory, ids: &[Uuid]) -> PendingFile {
    let mut writer = ArchiveWriter::create(directory, name(ids[0])).unwrap();
    for id in ids {
        writer.write(&line(*id)).unwrap();
    }
    writer.into_pending(&Tenant::default()).unwrap()
}

fn finish(file: PendingFile, staying: &[Uuid]) -> Option<ArchiveFile> {
    let content = file.verify().unwrap();
    let staying: HashSet<Uuid> = staying.iter().copied().collect();
    file.finish(content, &staying).unwrap()
}

fn ids(count: usize) -> Vec<Uuid> {
    (0..count).map(|_| Uuid::now_v7()).collect()
}

fn names(dir: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir.path()).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The finished file and its checksum are all that the directory has.
fn expect_finished(dir: &TempDir, report: &ArchiveFile, ids: &[Uuid]) {
    let [data, checksum] = names(dir).try_into().unwrap();
    assert_eq!(checksum, format!("{data}.sha256"));
    let content = fs::read_to_string(dir.path().join(&data)).unwrap();
    assert_eq!(content, text(ids));
    let sum = hex(&Sha256::digest(&content));
    let checksum = fs::read_to_string(dir.path().join(checksum)).unwrap();
    assert_eq!(checksum, format!("{sum}  {data}\n"));
    let bytes = u64::try_from(content.len()).unwrap();
    let orders = u64::try_from(ids.len()).unwrap();
    assert_eq!((&report.name, &report.sha256), (&data, &sum));
    assert_eq!((report.orders, report.bytes), (orders, bytes));
    let mode = fs::metadata(dir.path().join(data)).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_file_has_its_name_only_after_its_orders_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, ids) = (archive_in(&dir), ids(3));
    let file = write(&archive, &ids);
    let [pending] = names(&dir).try_into().unwrap();
    assert_eq!(pending, file.name.to_string());
    let report = finish(file, &[]).unwrap();
    expect_finished(&dir, &report, &ids);
}

#[test]
fn a_file_that_differs_from_what_was_written_is_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(&archive_in(&dir), &ids(3));
    let path = dir.path().join(&names(&dir)[0]);
    let whole = fs::read(&path).unwrap();
    let mut changed = whole.clone();
    changed[20] ^= 1;
    for content in [&changed, &whole[..whole.len() - 1].to_vec(), &Vec::new()] {
        fs::write(&path, content).unwrap();
        let error = file.verify().unwrap_err().to_string();
        assert!(error.contains("not what was written"), "{error}");
    }
    fs::remove_file(&path).unwrap();
    assert!(file.verify().is_err());
}

#[test]
fn the_finished_file_has_no_lines_of_orders_that_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, ids) = (archive_in(&dir), ids(4));
    let report = finish(write(&archive, &ids), &[ids[1], ids[3]]).unwrap();
    expect_finished(&dir, &report, &[ids[0], ids[2]]);
    let file = write(&archive, &ids[1..2]);
    let content = file.verify().unwrap();
    let unknown = HashSet::from([Uuid::now_v7()]);
    assert!(file.finish(content, &unknown).is_err());
}

#[test]
fn a_file_all_of_whose_orders_stay_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let ids = ids(2);
    assert_eq!(finish(write(&archive_in(&dir), &ids), &ids), None);
    assert_eq!(names(&dir), Vec::<String>::new());
}

/// Reopens the only pending file after a kill, and finishes it.
fn finish_after_kill(archive: &ArchiveDirectory, staying: &[Uuid]) -> Option<ArchiveFile> {
    archive.remove_abandoned().unwrap();
    let file = archive.pending().unwrap().pop()?;
    finish(file, staying)
}

#[test]
fn a_run_that_is_killed_at_any_step_is_continued() {
    let ids = ids(3);
    let [first, second, third] = ids[..] else {
        panic!("three ids")
    };
    // What a killed run leaves besides the pending file.
    let partial = format!("{}.partial", name(first));
    let steps: [&[(&str, &str)]; 5] = [
        &[],
        &[(&partial, "{")],
        &[(&partial, "complete")],
        &[(&format!("{}.sha256.partial", name(first)), "0")],
        &[
            (&partial, "complete"),
            (&format!("{}.sha256", name(first)), "0"),
        ],
    ];
    for left in steps {
        for staying in [&[][..], &[second], &[first, second, third]] {
            let dir = tempfile::tempdir().unwrap();
            let archive = archive_in(&dir);
            drop(write(&archive, &ids));
            for (name, content) in left {
                fs::write(dir.path().join(name), content).unwrap();
            }
            let rest: Vec<Uuid> = ids
                .iter()
                .copied()
                .filter(|id| !staying.contains(id))
                .collect();
            match finish_after_kill(&archive, staying) {
                Some(report) => expect_finished(&dir, &report, &rest),
                None => assert_eq!((names(&dir), rest), (vec![], vec![])),
            }
        }
    }
}

#[test]
fn a_pending_file_beside_its_finished_one_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, ids) = (archive_in(&dir), ids(2));
    let report = finish(write(&archive, &ids), &ids[..1]).unwrap();
    drop(write(&archive, &ids));
    assert_eq!(names(&dir).len(), 3);
    assert!(archive.pending().unwrap().is_empty());
    expect_finished(&dir, &report, &ids[1..]);
}

#[test]
fn a_pending_file_of_another_database_or_of_a_running_process_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, ids) = (archive_in(&dir), ids(2));
    let other = ArchiveDirectory::new(dir.path(), DatabaseId::of(b"other"));
    drop(write(&other, &ids[..1]));
    let running = write(&archive, &ids[1..]);
    assert!(archive.pending().unwrap().is_empty());
    drop(running);
    let [file] = archive.pending().unwrap().try_into().ok().unwrap();
    assert_eq!(file.name.file, name(ids[1]));
    assert_eq!(names(&dir).len(), 2);
}

#[test]
fn incomplete_files_are_removed_unless_a_run_writes_them() {
    let dir = tempfile::tempdir().unwrap();
    let archive = archive_in(&dir);
    let first = Uuid::now_v7();
    let running = ArchiveWriter::create(&archive, name(first)).unwrap();
    let second = ArchiveWriter::create(&archive, name(first));
    assert!(matches!(second, Err(ArchiveError::Locked(_))));
    let abandoned = dir.path().join("orders-acme-x.ndjson.partial");
    fs::write(&abandoned, "{").unwrap();
    fs::write(dir.path().join("other.partial"), "").unwrap();
    archive.remove_abandoned().unwrap();
    assert_eq!(names(&dir).len(), 2);
    assert!(!abandoned.exists());
    // A run that fails leaves nothing.
    drop(running);
    assert_eq!(names(&dir), ["other.partial"]);
}

#[test]
fn directories_with_the_names_of_files_are_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, ids) = (archive_in(&dir), ids(1));
    let pending = write(&archive, &ids).name.to_string();
    fs::remove_file(dir.path().join(&pending)).unwrap();
    for name in ["orders-x.partial", &pending] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    archive.remove_abandoned().unwrap();
    assert!(archive.pending().unwrap().is_empty());
    assert_eq!(names(&dir).len(), 2);
}
