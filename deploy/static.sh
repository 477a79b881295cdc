#!/bin/sh
# One binary that runs on any Linux of this processor: glibc and libpcap are inside it. Debian only, since it takes the sources of
# libpcap from Debian's archive; their checksums are signed there. The binary: target/dist/portscan_exporter.
#
# libpcap is built for packet sockets alone. Debian's own libpcap.a also captures D-Bus, and wants libraries for that.
set -eu
cd "$(dirname "$0")/.."
root=$PWD/target/static
target=$(rustc -vV | sed -n 's/^host: //p')
sudo=$([ "$(id -u)" = 0 ] || echo sudo)

needs="gcc libc6-dev make flex bison dpkg-dev"
# shellcheck disable=SC2086 # a list of packages
if ! dpkg-query -W -f '${db:Status-Status}\n' $needs 2>/dev/null | awk '!/^installed$/ {bad = 1} END {exit bad || NR < 6}'; then
    command -v apt-get >/dev/null || { echo "static.sh: needs Debian (its sources of libpcap)" >&2; exit 1; }
    $sudo apt-get update -q
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $needs
fi

# Where the sources are is known to this machine's own list; a list of its own asks for sources there.
if [ ! -e "$root/lib/libpcap.a" ]; then
    rm -rf "$root"
    mkdir -p "$root/lib" "$root/state/partial" "$root/source"
    if [ -e /etc/apt/sources.list.d/debian.sources ]; then
        sed 's/^Types:.*/Types: deb-src/' /etc/apt/sources.list.d/debian.sources >"$root/debian.sources"
    else
        sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}/deb-src \1/p' /etc/apt/sources.list >"$root/debian.list"
    fi
    list=$(echo "$root"/debian.*)
    get() {
        apt-get -q -o APT::Sandbox::User=root -o Dir::Etc::sourcelist="$list" -o Dir::Etc::sourceparts=/dev/null \
            -o Dir::State::lists="$root/state" -o Dir::Cache::srcpkgcache= -o Dir::Cache::pkgcache= "$@"
    }
    get update
    (cd "$root/source" && get source --download-only libpcap && dpkg-source --extract ./*.dsc libpcap)
    (
        cd "$root/source/libpcap"
        ./configure --quiet --disable-shared --disable-usb --disable-bluetooth --disable-dbus --disable-rdma --disable-remote \
            --without-libnl --without-dpdk --without-snf --without-dag --without-septel --without-turbocap \
            CFLAGS="-O2 -fPIC -ffile-prefix-map=$root=/static"
        make -s libpcap.a
    )
    cp "$root/source/libpcap/libpcap.a" "$root/lib/"
fi

LIBPCAP_LIBDIR=$root/lib LIBPCAP_VER=$(cat "$root/source/libpcap/VERSION") \
    RUSTFLAGS="-C target-feature=+crt-static ${RUSTFLAGS:-}" \
    deploy/reproducible.sh "${CARGO:-cargo}" build --release --locked --target "$target"
mkdir -p target/dist
strip -o target/dist/portscan_exporter "target/$target/release/portscan_exporter"
(cd target/dist && sha256sum portscan_exporter >SHA256SUMS)
