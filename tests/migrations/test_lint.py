"""Tests the linter of migrations on examples: test_lint.py SQUAWK.

Each file in examples/good is accepted. Each file in examples/bad is rejected for exactly the rules in its
lines `-- rejected: RULE`. A file is the migration that follows the initial one. `-- migration` starts
another migration, `-- no transaction` makes it run without a transaction, and `-- database: sqlite` selects
SQLite.
"""

import importlib.util
import re
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def load():
    path = HERE.parent.parent / "scripts" / "lint-migrations.py"
    spec = importlib.util.spec_from_file_location("lint", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lay_out(root, text):
    """Creates a directory of migrations from an example."""
    sqlite = "-- database: sqlite" in text
    # The initial migration may do anything.
    parts = ["CREATE TABLE orders (id bigint);\nUPDATE orders SET id = 1;\n"]
    parts += re.split(r"^-- migration\n", text, flags=re.M)
    for number, part in enumerate(parts):
        for database in ("postgres", "sqlite"):
            directory = root / database / f"2030-01-01-{number:06}_example"
            directory.mkdir(parents=True)
            mine = number == 0 or (database == "sqlite") == sqlite
            (directory / "up.sql").write_text(part if mine else "-- nothing\n")
            (directory / "down.sql").write_text("")
            if "-- no transaction" in part:
                (directory / "metadata.toml").write_text("run_in_transaction = false\n")


def rules(lint, program, text, spoil=lambda root: None):
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        lay_out(root, text)
        spoil(root)
        return {rule for _, _, rule, _ in lint.lint(program, root)}


def main():
    lint, program = load(), sys.argv[1]
    tried = failed = 0

    def expect(name, found, wanted):
        nonlocal tried, failed
        tried += 1
        if found != wanted:
            failed += 1
            print(f"{name}: found {sorted(found)}, wanted {sorted(wanted)}", file=sys.stderr)

    for path in sorted((HERE / "examples").glob("*/*.sql")):
        text = path.read_text()
        wanted = set(re.findall(r"^-- rejected: ([\w-]+)$", text, re.M))
        assert bool(wanted) == (path.parent.name == "bad"), path
        expect(path.stem, rules(lint, program, text), wanted)

    def one_missing(root):
        (root / "sqlite" / "2030-01-01-000001_example" / "up.sql").unlink()
        (root / "sqlite" / "2030-01-01-000001_example" / "down.sql").unlink()
        (root / "sqlite" / "2030-01-01-000001_example").rmdir()

    def no_down(root):
        (root / "sqlite" / "2030-01-01-000001_example" / "down.sql").unlink()

    expect("same names", rules(lint, program, "-- nothing\n", one_missing), {"same-names"})
    expect("down.sql", rules(lint, program, "-- nothing\n", no_down), {"missing"})
    print(f"lint-migrations: {tried - failed} of {tried} examples as expected")
    sys.exit(1 if failed or tried < 30 else 0)


if __name__ == "__main__":
    main()
