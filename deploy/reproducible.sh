#!/bin/sh
# Runs a command (cargo build ...) so that the same sources, compiler and linker make the same bytes, in whatever directory they lie and
# whoever builds them: the paths that the compilers write into a program begin with /portscan_exporter and /cargo. `make check-reproducible`
# holds it to that.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd -P)
cargo_home=$(cd "${CARGO_HOME:-$HOME/.cargo}" && pwd -P)
rustc=${RUSTC:-rustc}
# Where the component rust-src is installed, the compiler names the standard library's files by their place on this disk.
std=$("$rustc" --print sysroot)/lib/rustlib/src/rust
commit=$("$rustc" -vV | sed -n 's/^commit-hash: //p')

# Flags that may hold spaces are separated by this byte.
unit=$(printf '\037')
flags=
add() { flags=${flags:+$flags$unit}$1; }
for flag in ${RUSTFLAGS:-}; do add "$flag"; done
# Of two prefixes that fit, the later one is taken.
add "--remap-path-prefix=$std=/rustc/$commit"
add "--remap-path-prefix=$cargo_home=/cargo"
add "--remap-path-prefix=$here=/portscan_exporter"
export CARGO_ENCODED_RUSTFLAGS="$flags"

# For what is written in C. (A path with a space cannot be said to `cc`.)
CFLAGS="${CFLAGS:-} -ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$here=/portscan_exporter"
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct 2>/dev/null || date +%s)}
export CFLAGS SOURCE_DATE_EPOCH
exec "$@"
