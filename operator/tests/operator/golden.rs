//! Compares all objects of each OrderService in `golden/` with the committed ones. After an intended change,
//! `GOLDEN=write cargo test -p order-operator golden` rewrites the files.

use order_operator::commands::render_objects;
use serde_json::Value;

use crate::{directory, files};

#[test]
fn built_objects_match_the_committed_ones() {
    let mut count = 0;
    for (name, text) in files("golden")
        .into_iter()
        .filter(|(name, _)| !name.ends_with(".built"))
    {
        let built: Vec<Value> = render_objects(serde_saphyr::from_str(&text).unwrap()).unwrap();
        let path = directory("golden").join(format!("{name}.built.yaml"));
        if std::env::var_os("GOLDEN").is_some_and(|how| how == "write") {
            let yaml: Vec<_> = built
                .iter()
                .map(|one| serde_saphyr::to_string(one).unwrap())
                .collect();
            std::fs::write(&path, yaml.join("---\n")).unwrap();
        }
        let golden: Vec<Value> =
            serde_saphyr::from_multiple(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(golden.len(), built.len(), "{name}");
        for (golden, built) in golden.iter().zip(&built) {
            assert_eq!(golden, built, "{name}: {}", built["kind"]);
        }
        count += 1;
    }
    assert_eq!(count, 3);
}
