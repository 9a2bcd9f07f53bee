# shellcheck shell=bash
# Part of run.sh: the contents of the image.

inspect() { podman image inspect --format "$1" "$image"; }

bytes=$(inspect '{{.Size}}')
echo "        size: $bytes bytes; compressed: $(podman save "$image" | gzip | wc -c)"
check "the image is at most 16 MB" at_most "$bytes" 16000000
check "the image contains only the binary, certificates, the licence and an empty directory" equal \
    "$(cd "$(podman image mount "$image")" && find . ! -type d -o -type d -empty | sort | xargs)" \
    "./data ./etc/ssl/certs/ca-certificates.crt ./licenses/LICENSE ./usr/bin/order-service"
check "the user owns the directory for data" equal "$(stat -c %u:%g "$(podman image mount "$image")/data")" 65532:65532
podman image unmount "$image" >/dev/null
check "the user is numeric" equal "$(inspect '{{.Config.User}}')" 65532:65532
check "the entry point is the binary and no shell" equal "$(inspect '{{.Config.Entrypoint}}')" "[/usr/bin/order-service]"
for label in title description licenses revision version; do
    check "the image has the label $label" test -n "$(inspect "{{index .Config.Labels \"org.opencontainers.image.$label\"}}")"
done

elf=$(readelf --wide --program-headers --sections --symbols "$work/order-service")
check "the binary is static" equal "$(grep -cE 'INTERP|NEEDED' <<<"$elf")" 0
check "the binary is position-independent" grep -qE 'Type: *DYN' <(readelf --file-header "$work/order-service")
check "the binary keeps function names for backtraces" grep -q 'FUNC .*order_service.*store' <<<"$elf"
objcopy --dump-section ".dep-v0=$work/deps" "$work/order-service" /dev/null
scripts/sbom.sh target/tools order-service >/dev/null
check "the binary lists its dependencies, and the SBOM agrees" /usr/bin/python3 - "$work/deps" target/sbom/order-service.cdx.json <<'PY'
import json, sys, zlib
packages = json.loads(zlib.decompress(open(sys.argv[1], "rb").read()))["packages"]
listed = {(p["name"], p["version"]) for p in packages if p.get("kind") != "build" and p["name"] != "order-service"}
document = {(c["name"], c["version"]) for c in json.load(open(sys.argv[2]))["components"]}
# The document also contains procedural macros.
sys.exit(not (listed <= document and {"actix-web", "diesel", "rustls"} <= {name for name, _ in listed}))
PY
check "the binary cannot be made to panic" equal "$(grep -acE 'TEST_PANICS_FILE|test_panics_file' "$work/order-service")" 0
check "the binary contains no path of the builder" equal "$(grep -acE '/(cargo/registry|src/src)/' "$work/order-service")" 0
