#!/usr/bin/env bash
# Writes a software bill of materials (CycloneDX, JSON) for each package to target/sbom: the crates in its Linux
# binary, with versions, licences and checksums. sbom.sh TOOLS PACKAGE…
# The same sources give the same document; its time is that of the commit.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$1
shift

scripts/tools.sh "$tools" sbom
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH
mkdir -p target/sbom
for package in "$@"; do
    # The tool writes next to each manifest, for every member of the workspace.
    PATH="$tools/bin:$PATH" cargo cyclonedx --quiet --format json --spec-version 1.5 --no-build-deps \
        --target x86_64-unknown-linux-musl --override-filename "$package.cdx"
    directory=$(cargo pkgid --package "$package" | sed -E 's|^path\+file://([^#]*)#.*|\1|')
    # The document must not depend on the directory of the sources.
    sed "s|path+file://$PWD|path+file:///src|g" "$directory/$package.cdx.json" >"target/sbom/$package.cdx.json"
    find . -name "$package.cdx.json" -not -path './target/*' -delete
    echo "target/sbom/$package.cdx.json"
done
