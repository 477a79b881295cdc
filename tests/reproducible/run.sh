#!/bin/bash
# The static program is built twice: here, and from a copy of the sources in another directory, by another cargo home, umask, language and
# time zone. Both have the same bytes. `make check-reproducible` runs it, on Debian; it takes as long as two builds from nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo_home=${CARGO_HOME:-$HOME/.cargo}
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
# Told where there is no repository to ask; told here as well, the program would be built again without.
revision=${PORTSCAN_REVISION:-$(git rev-parse --short=12 HEAD)}

echo "== here: $PWD"
deploy/static.sh

elsewhere=$copy/elsewhere/and/deeper
echo "== there: $elsewhere"
mkdir -p "$elsewhere" "$copy/cargo/registry"
git ls-files -z | tar -c --null -T - | tar -x -C "$elsewhere"
# What was downloaded, and nothing that was unpacked or built.
cp -r "$cargo_home/registry/index" "$cargo_home/registry/cache" "$copy/cargo/registry/"
[ ! -e "$cargo_home/config.toml" ] || cp "$cargo_home/config.toml" "$copy/cargo/"
(
    umask 077
    cd "$elsewhere"
    PORTSCAN_REVISION=$revision CARGO_HOME=$copy/cargo CARGO_NET_OFFLINE=true LC_ALL=C TZ=Pacific/Chatham deploy/static.sh
)
(cd target/dist && sha256sum portscan_exporter)
(cd "$elsewhere/target/dist" && sha256sum portscan_exporter)
cmp target/dist/portscan_exporter "$elsewhere/target/dist/portscan_exporter"
# Nor does it name a directory of whoever built it.
! strings target/dist/portscan_exporter | grep -F -e "$PWD" -e "$cargo_home" || { echo "run.sh: paths of this machine are in it" >&2; exit 1; }
echo "reproducible: both are the same"
