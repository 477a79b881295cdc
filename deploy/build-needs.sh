#!/bin/sh
# What building needs: Rust, a C compiler, libpcap's headers. Says at once what is missing, before it installs or builds anything;
# installs the last two with whatever package manager is here. Rust comes from rustup: no stable distribution's is new enough.
set -eu
cd "$(dirname "$0")/.."
wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
cargo=${CARGO:-cargo}

has_rust() {
    # Cargo itself first asks rust-toolchain files and rustup: as it would be when it builds.
    found=$("$cargo" --version 2>/dev/null | awk '{print $2}') && [ -n "$found" ] || { found=none; return 1; }
    [ "$(printf '%s\n' "$wanted" "${found%%-*}" | sort -V | head -n 1)" = "$wanted" ]
}
has_compiler() { command -v cc >/dev/null; }
has_headers() { echo '#include <pcap/pcap.h>' | cc -E - >/dev/null 2>&1 || [ -e /usr/include/pcap/pcap.h ]; }

rust=yes others=yes
has_rust || rust=no
{ has_compiler && has_headers; } || others=no
[ "$rust$others" != yesyes ] || exit 0

install=
if command -v apt-get >/dev/null; then
    install="apt-get install -y -q --no-install-recommends libpcap-dev gcc libc6-dev"
elif command -v dnf >/dev/null; then
    install="dnf install -y libpcap-devel gcc"
elif command -v apk >/dev/null; then
    install="apk add libpcap-dev gcc musl-dev"
elif command -v pacman >/dev/null; then
    install="pacman -S --needed --noconfirm libpcap gcc"
fi

if [ "$rust" = no ] || [ -z "$install" ]; then
    {
        echo "Building portscan_exporter needs:"
        if [ "$rust" = no ]; then
            case $found in
            none) echo "  - Rust $wanted or newer, and there is no $cargo here. Install it with" ;;
            *) echo "  - Rust $wanted or newer, and $(command -v "$cargo") is $found. Install a newer one with" ;;
            esac
            echo "        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y && . \"\$HOME/.cargo/env\""
            echo "    (https://rustup.rs; needs curl. Under sudo, give it your PATH: sudo env PATH=\"\$PATH\" make ...)"
        fi
        if [ "$others" = no ]; then
            echo "  - a C compiler and the headers of libpcap${install:+: make installs them itself once Rust is here}"
        fi
        echo "Then try again. Nothing was installed or built."
    } >&2
    exit 1
fi
sudo=$([ "$(id -u)" = 0 ] || echo sudo)
case $install in apt-get*) $sudo apt-get update -q ;; esac
# shellcheck disable=SC2086 # words
$sudo $install
