#!/usr/bin/env bash
# Writes a software bill of materials (CycloneDX, JSON) for each package given into target/sbom: what is
# compiled into its binary on Linux, with versions, licences and checksums. sbom.sh TOOLS PACKAGE…
# The same sources give the same document; its time is the commit's.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$1
shift

scripts/tools.sh "$tools" sbom
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH
mkdir -p target/sbom
for package in "$@"; do
    # The tool writes beside each manifest, and for every member of the workspace.
    PATH="$tools/bin:$PATH" cargo cyclonedx --quiet --format json --spec-version 1.5 --no-build-deps \
        --target x86_64-unknown-linux-musl --override-filename "$package.cdx"
    directory=$(cargo pkgid --package "$package" | sed -E 's|^path\+file://([^#]*)#.*|\1|')
    # Where the sources lie is nobody's business.
    sed "s|path+file://$PWD|path+file:///src|g" "$directory/$package.cdx.json" >"target/sbom/$package.cdx.json"
    find . -name "$package.cdx.json" -not -path './target/*' -delete
    echo "target/sbom/$package.cdx.json"
done
