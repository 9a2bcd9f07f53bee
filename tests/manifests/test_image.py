"""Static checks of the Containerfile. `make image-test` builds and runs the images."""

import fnmatch
import re
import tomllib

import pytest
from manifests import ROOT, containers, deployment, objects_of, pod_spec

SOURCE = (ROOT / "Containerfile").read_text()
# stage → (base image, instructions)
STAGES = {
    name: (base, re.sub(r"\\\n\s*", "", text))
    for base, name, text in re.findall(r"^FROM (\S+) AS (\S+)\n(.*?)(?=^FROM |\Z)", SOURCE, re.M | re.S)
}
IMAGES = ("order-service", "order-operator")


def test_every_stage_has_a_name():
    assert len(STAGES) == len(re.findall(r"^FROM ", SOURCE, re.M))
    assert set(IMAGES) < set(STAGES)


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_an_empty_root_with_one_binary(name):
    base, text = STAGES[name]
    assert base == "scratch" and "RUN " not in text
    assert re.findall(r"^(?:USER|ENTRYPOINT) .*", text, re.M) == ["USER 65532:65532", f'ENTRYPOINT ["/usr/bin/{name}"]']
    copied = [line.split()[-1] for line in re.findall(r"^COPY .*", text, re.M)]
    assert copied[:3] == ["/etc/ssl/certs/", "/licenses/", "/usr/bin/"]
    assert f"COPY --from={name}-build /out/{name} /usr/bin/" in text
    for label in ("title", "description", "licenses", "revision"):
        assert f"org.opencontainers.image.{label}=" in text


@pytest.mark.parametrize("name", IMAGES)
def test_dependencies_are_compiled_before_the_sources_are_copied(name):
    _, text = STAGES[f"{name}-build"]
    before, after = text.split("COPY . .\n")
    # The operator is optimised for size: see its profile in Cargo.toml.
    profile = {"order-operator": "--profile operator"}.get(name, "--release")
    build = f"cargo auditable build {profile} --locked --package {name} --bin {name}"
    assert "COPY --from=manifests" in before and before.count(build) == after.count(build) == 1
    # Otherwise each commit would compile the dependencies again.
    assert "REVISION" not in before and "ARG REVISION" in after
    assert text.count("--mount=type=cache") == 2


def test_the_default_builder_has_the_oldest_supported_rust():
    oldest = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
    assert re.findall(r"^ARG BUILDER=(.*)", SOURCE, re.M) == [f"docker.io/library/rust:{oldest}-alpine"]
    assert STAGES["toolchain"][0] == "${BUILDER}"


def test_the_image_and_the_manifests_agree():
    workload = deployment(objects_of("base"))
    assert pod_spec(workload)["securityContext"]["runAsUser"] == 65532
    ports = " ".join(str(port["containerPort"]) for port in containers(workload)[0]["ports"])
    text = STAGES["order-service"][1]
    assert f"EXPOSE {ports}" in text
    for variable in containers(workload)[0]["env"]:
        if variable["name"].endswith("_ADDRESS"):
            assert f"{variable['name']}={variable['value']}" in text


def test_documented_commands_declare_who_may_call():
    """In the container the service listens on all addresses, where it does not start without a declaration."""
    assert "BIND_ADDRESS=0.0.0.0:8080" in STAGES["order-service"][1]
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    commands = [c for page in pages for c in re.findall(r"(?:podman|docker) run [^`\n]*/order-service[:@][^`\n]*", page.read_text())]
    serving = [c for c in commands if not re.search(r"/order-service[:@]\S+ (api-key|migrate|openapi)", c)]
    assert serving and len(commands) > len(serving)
    for command in serving:
        assert re.search(r"(-e|--env) AUTH_(FILE|ANONYMOUS)=", command), command


def test_the_context_has_only_the_files_that_are_compiled():
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert rules[0] == "*"
    included = [rule[1:] for rule in rules if rule[0] == "!"]
    embedded = [name for source in (ROOT / "src").rglob("*.rs")
                for name in re.findall(r'embed_migrations!\("([^"]*)"\)', source.read_text())]
    assert embedded
    for path in ["Cargo.toml", "Cargo.lock", "LICENSE", "src", *embedded]:
        assert any(fnmatch.fnmatch(path.split("/")[0], rule) for rule in included), path
    for path in (".git", "target", "rust-toolchain.toml", "tests", "docs", "kustomize"):
        assert path not in included
