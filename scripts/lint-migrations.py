#!/usr/bin/env python3
"""Checks every migration after the initial one against the rules for a running service.

    lint-migrations.py SQUAWK MIGRATIONS

SQUAWK is the program of https://squawkhq.com; MIGRATIONS has a directory for each database. No migration
may hold a lock that blocks writers for longer than a second, whatever the size of the table, and old code
must work on the new schema. This program adds rules that squawk lacks. A comment in a file lifts a rule for
that file and gives the reason:

    -- lint-ignore RULE: REASON        for a rule of this program
    -- squawk-ignore RULE              for a rule of squawk, before the statement
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

# The oldest supported version of PostgreSQL.
PG_VERSION = "13.0"

# Rules of squawk that concern neither locks nor compatibility, or do not apply here.
NOT_HERE = [
    "adding-not-nullable-field",  # set-not-null below is stricter
    "ban-create-domain-with-constraint",  # limits of columns are domains, in new tables only
    "prefer-bigint-over-int",
    "prefer-bigint-over-smallint",
    "prefer-identity",
    "prefer-robust-stmts",  # IF NOT EXISTS accepts an index that a failed attempt left invalid
    "prefer-text-field",
    "require-statement-timeout",  # a concurrent index takes as long as it takes
]

# Types that a new column may have. A domain with a constraint rewrites the table.
TYPES = {
    "bigint", "boolean", "bytea", "date", "double precision", "integer", "json", "jsonb", "numeric",
    "real", "smallint", "text", "time", "timestamp with time zone", "timestamptz", "uuid",
}  # fmt: skip

NAME = r'(?:"[^"]+"|[\w.]+)'

# Rule, pattern of a statement, problem.
POSTGRES = [
    ("backfill", r"^(WITH\b.*\b)?(UPDATE|DELETE FROM)\b", "changes rows in one transaction, which keeps them locked and delays the feed; change them in batches outside of a migration"),
    ("backfill", r"^(WITH\b.*)?INSERT INTO\b.*\bSELECT\b", "copies rows in one transaction, which delays the feed; copy them in batches outside of a migration"),
    ("rewrite", r"^ALTER TABLE\b.*\bSET (UNLOGGED|LOGGED|TABLESPACE|ACCESS METHOD)\b", "rewrites the table"),
    ("rewrite", r"^(CLUSTER|VACUUM)\b", "rewrites the table, or does not belong in a migration"),
    ("rewrite", r"^REFRESH MATERIALIZED VIEW (?!CONCURRENTLY)", "blocks readers"),
    ("lock", r"^(LOCK|TRUNCATE)\b", "blocks readers and writers"),
    ("set-not-null", r"^ALTER TABLE\b.*\bSET NOT NULL\b", "reads the whole table under a lock, unless an earlier migration has validated CHECK (… IS NOT NULL)"),
    ("attach-partition", r"^ALTER TABLE\b.*\bATTACH PARTITION\b", "reads the whole partition under a lock, unless an earlier migration has validated a CHECK of the same bounds"),
    ("do-block", r"^DO\b", "cannot be checked"),
    ("transaction", r"^(BEGIN|START TRANSACTION|COMMIT|ROLLBACK|END)\b", "the migration is a transaction already"),
]  # fmt: skip

SQLITE = [
    ("backfill", r"^(WITH\b.*\b)?(UPDATE|DELETE FROM)\b", "changes rows in one transaction, which blocks other writers; change them in batches outside of a migration"),
    ("rewrite", r"^(WITH\b.*)?INSERT INTO\b.*\bSELECT\b", "copies a table and blocks writers"),
    ("rewrite", r"^CREATE TABLE\b.*\bAS SELECT\b", "copies a table and blocks writers"),
    ("rewrite", r"^VACUUM\b", "rewrites the database"),
    ("rewrite", r"^ALTER TABLE\b.*\bDROP COLUMN\b", "rewrites the table, and old code may use the column"),
    ("rewrite", r"^ALTER TABLE\b.*\bADD\b.*\b(CHECK|NOT NULL|GENERATED)\b", "reads the whole table and blocks writers"),
    ("compatibility", r"^ALTER TABLE\b.*\bRENAME\b", "old code uses the old name"),
    ("compatibility", r"^DROP (TABLE|VIEW)\b", "old code may use it"),
    ("pragma", r"^PRAGMA\b", "is a setting of a connection; writable_schema can corrupt the database"),
    ("transaction", r"^(BEGIN|COMMIT|ROLLBACK|END|SAVEPOINT)\b", "the migration is a transaction already"),
]  # fmt: skip


def statements(sql):
    """The statements as (line, text), without comments, with empty literals and single spaces."""
    token = re.compile(
        r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$|\"[^\"]*\"|;|\s+|[^\s;'\"$/-]+|.", re.S
    )
    found, text, start = [], "", None
    for match in token.finditer(sql):
        part = match.group()
        if part == ";":
            found.append((start, text))
            text, start = "", None
            continue
        if part.startswith(("--", "/*")) or part.isspace():
            text += " " if text and not text.endswith(" ") else ""
            continue
        if start is None:
            start = sql.count("\n", 0, match.start()) + 1
        if part.startswith("'") and not re.search(r"\block_timeout\b", text, re.I):
            part = "''"
        elif part.startswith("$") and len(part) > 1:
            part = "$$ $$"
        text += part
    found.append((start, text))
    return [(line, text.strip()) for line, text in found if text.strip()]


def milliseconds(value):
    match = re.fullmatch(r"(\d+)\s*(ms|s|)", value.strip().strip("'").strip())
    return int(match[1]) * (1000 if match[2] == "s" else 1) if match else None


def lock_timeout(text):
    """The lock_timeout in milliseconds that a statement sets for its transaction."""
    match = re.fullmatch(r"SET LOCAL lock_timeout\s*(?:=|TO)\s*(.*)", text, re.I)
    return milliseconds(match[1]) if match else None


def added_columns(text):
    """The definition, without its name, of each column that a statement adds."""
    if not re.match(r"ALTER TABLE\b", text, re.I):
        return []
    part = rf"\bADD (?:COLUMN )?(?:IF NOT EXISTS )?(?!CONSTRAINT\b|CHECK\b|UNIQUE\b|PRIMARY\b|FOREIGN\b|EXCLUDE\b){NAME} ([^,]*)"
    return re.findall(part, text, re.I)


def postgres(path, sql, in_transaction):
    found = statements(sql)
    if in_transaction:
        if found and not 0 < (lock_timeout(found[0][1]) or 0) <= 1000:
            yield found[0][0], "lock-timeout", "the first statement is SET LOCAL lock_timeout = '1s', or less"
    elif len(found) != 1 or not re.match(r"(CREATE (UNIQUE )?INDEX|DROP INDEX|REINDEX\b.*|ALTER TABLE\b.*DETACH PARTITION.*) CONCURRENTLY\b", found[0][1], re.I):
        yield 1, "no-transaction", "a migration without a transaction must be one CONCURRENTLY statement: several statements sent together are a transaction"
    for line, text in found:
        if re.match(r"CREATE (UNIQUE )?INDEX CONCURRENTLY IF NOT EXISTS\b", text, re.I):
            yield line, "if-not-exists", "would accept an index that a failed attempt left invalid"
        for definition in added_columns(text):
            kind = re.split(r"\s+(?:NOT NULL|NULL|DEFAULT|CHECK|REFERENCES|COLLATE|GENERATED|CONSTRAINT|UNIQUE|PRIMARY)\b|\(|\[|$", definition, maxsplit=1, flags=re.I)[0]
            if kind.strip().lower() not in TYPES:
                yield line, "rewrite", f"a column of the type {kind.strip()} rewrites the table if the type is a domain with a constraint"
    added = {name for _, text in found for name in re.findall(rf"\bADD CONSTRAINT ({NAME})", text, re.I)}
    for line, text in found:
        for name in re.findall(rf"\bVALIDATE CONSTRAINT ({NAME})", text, re.I):
            if name in added:
                yield line, "validate-later", "a constraint is validated by a later migration than the one that adds it"
    yield from matching(POSTGRES, found)


def matching(rules, found):
    for line, text in found:
        for rule, pattern, message in rules:
            if re.search(pattern, text, re.I):
                yield line, rule, message


def squawk(program, path, in_transaction):
    exclude = NOT_HERE if in_transaction else [*NOT_HERE, "require-lock-timeout"]
    mode = "--assume-in-transaction" if in_transaction else "--no-assume-in-transaction"
    # In the root directory, so that no configuration file applies.
    command = [program, "--reporter", "json", "--pg-version", PG_VERSION, mode, "--exclude", ",".join(exclude)]
    out = subprocess.run([*command, path.resolve()], cwd="/", capture_output=True, text=True, check=False)
    try:
        problems = json.loads(out.stdout)
    except json.JSONDecodeError:
        sys.exit(f"squawk failed on {path}: {out.stdout}{out.stderr}")
    for problem in problems:
        yield problem["line"] + 1, problem["rule_name"], problem["message"]
    if out.returncode not in (0, 1) or (out.returncode == 1) != bool(problems):
        sys.exit(f"squawk ended with {out.returncode} on {path}: {out.stderr}")


def lint(program, root):
    """Every problem as (file, line, rule, message)."""
    names = {}
    for database in ("postgres", "sqlite"):
        directories = sorted(path for path in (root / database).iterdir() if path.is_dir())
        names[database] = [path.name for path in directories]
        for number, directory in enumerate(directories):
            for file in ("up.sql", "down.sql"):
                if not (directory / file).is_file():
                    yield directory / file, 1, "missing", "every migration has an up.sql and a down.sql"
            path = directory / "up.sql"
            # The initial migration runs on an empty database without clients.
            if number == 0 or not path.is_file():
                continue
            sql = path.read_text()
            metadata = directory / "metadata.toml"
            settings = tomllib.loads(metadata.read_text()) if metadata.is_file() else {}
            in_transaction = settings.get("run_in_transaction", True)
            if database == "postgres":
                problems = [*postgres(path, sql, in_transaction), *squawk(program, path, in_transaction)]
            else:
                problems = [*matching(SQLITE, statements(sql))]
            lifted = {rule for rule, _ in re.findall(r"^-- lint-ignore ([\w-]+): *(\S.*)$", sql, re.M)}
            for line, rule, message in problems:
                if rule not in lifted:
                    yield path, line, rule, message
    for name in sorted(set(names["postgres"]) ^ set(names["sqlite"])):
        yield root, 1, "same-names", f"{name} exists for one database only"


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    problems = sorted(set(lint(sys.argv[1], Path(sys.argv[2]))))
    for path, line, rule, message in problems:
        print(f"{path}:{line}: {rule}: {message}", file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
