use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::*;

fn line(id: Uuid) -> String {
    format!(r#"{{"id":"{id}","version":2}}"#)
}

/// Writes a file with an order for each of these ids.
fn write(directory: &Path, ids: &[Uuid]) -> WrittenFile {
    let name = FileName::new(&Tenant::default(), ids[0], DateTime::UNIX_EPOCH);
    let mut writer = ArchiveWriter::create(directory, name).unwrap();
    for id in ids {
        writer.write(&line(*id)).unwrap();
    }
    writer.finish().unwrap()
}

fn ids(count: usize) -> Vec<Uuid> {
    (0..count).map(|_| Uuid::now_v7()).collect()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_that_was_read_back_has_a_checksum() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), &ids(3));
    file.verify().unwrap();
    let [data, checksum] = names(dir.path()).try_into().unwrap();
    assert_eq!(checksum, format!("{data}.sha256"));
    let content = fs::read_to_string(dir.path().join(&checksum)).unwrap();
    let report = file.into_report().unwrap();
    assert_eq!(content, format!("{}  {data}\n", report.sha256));
    assert_eq!((report.name, report.orders), (data.clone(), 3));
    let mode = fs::metadata(dir.path().join(data)).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_file_that_differs_from_what_was_written_is_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), &ids(3));
    let path = dir.path().join(&names(dir.path())[0]);
    let whole = fs::read(&path).unwrap();
    let mut changed = whole.clone();
    changed[20] ^= 1;
    for content in [&changed, &whole[..whole.len() - 1].to_vec(), &Vec::new()] {
        fs::write(&path, content).unwrap();
        let error = file.verify().unwrap_err().to_string();
        assert!(error.contains("not what was written"), "{error}");
        assert_eq!(names(dir.path()).len(), 1, "no checksum");
    }
    fs::remove_file(&path).unwrap();
    assert!(file.verify().is_err());
}

#[test]
fn lines_of_orders_that_stay_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let ids = ids(4);
    let mut file = write(dir.path(), &ids);
    file.verify().unwrap();
    file.remove_lines(&HashSet::from([ids[1], ids[3]])).unwrap();
    let path = dir.path().join(&names(dir.path())[0]);
    let expected = format!("{}\n{}\n", line(ids[0]), line(ids[2]));
    assert_eq!(fs::read_to_string(path).unwrap(), expected);
    file.verify().unwrap();
    let unknown = HashSet::from([Uuid::now_v7()]);
    assert!(file.remove_lines(&unknown).is_err());
}

#[test]
fn a_file_without_orders_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let ids = ids(2);
    let mut file = write(dir.path(), &ids);
    file.verify().unwrap();
    file.remove_lines(&ids.iter().copied().collect()).unwrap();
    assert_eq!(names(dir.path()), Vec::<String>::new());
    assert!(file.into_report().is_none());
}

#[test]
fn incomplete_files_are_removed_unless_a_run_writes_them() {
    let dir = tempfile::tempdir().unwrap();
    let name = |id| FileName::new(&Tenant::default(), id, DateTime::UNIX_EPOCH);
    let running = ArchiveWriter::create(dir.path(), name(Uuid::now_v7())).unwrap();
    let abandoned = dir.path().join("orders-acme-x.ndjson.partial");
    fs::write(&abandoned, "{").unwrap();
    fs::write(dir.path().join("other.partial"), "").unwrap();
    remove_abandoned(dir.path()).unwrap();
    assert_eq!(names(dir.path()).len(), 2);
    assert!(!abandoned.exists());
    // A run that fails leaves nothing.
    drop(running);
    assert_eq!(names(dir.path()), ["other.partial"]);
}
