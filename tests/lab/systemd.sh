#!/bin/bash
# A machine in a machine: a real systemd as process 1 of a container, to see what our unit does under it.
# The root is debootstrapped once into target/lab (a minute, 300 MB); each boot gets an overlay that is
# thrown away, a network of its own (only lo) and a cgroup of its own. Needs root.
#
# LAB_PACKAGES=a,b: further packages in the root.
#
# usage: systemd.sh up NAME [NSPAWN-OPTION...]   make the root if it is missing, boot, wait until it has booted
#        systemd.sh sh NAME CMD [ARG...]         run a command inside
#        systemd.sh down NAME                    power off and leave nothing behind
set -euo pipefail

fail() { echo "systemd.sh: $*" >&2; exit 1; }

verb=${1:?} name=${2:?}
shift 2
lab=$(cd "$(dirname "$0")/../.." && pwd)/target/lab
# libbpf1 is what systemd needs for SocketBindDeny=; Debian's systemd only suggests it.
packages=systemd,systemd-sysv,dbus,libpcap0.8,libbpf1,iproute2,procps${LAB_PACKAGES:+,$LAB_PACKAGES}
# Another list is another root.
root=$lab/root-$(cksum <<<"$packages" | cut -d" " -f1)
state=$lab/$name
cgroup=/sys/fs/cgroup
[ -d $cgroup/unified ] && cgroup=$cgroup/unified
cgroup=$cgroup/$name

inside() {
    nsenter -t "$(cat "$state/leader")" -m -u -i -n -p -C -r -w \
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 TERM=dumb SYSTEMD_PAGER= "$@"
}

make_root() {
    command -v debootstrap >/dev/null || fail "needs debootstrap to make a root file system"
    # The suite of this machine, so that what was linked here runs there.
    . /etc/os-release
    mkdir -p "$lab"
    rm -rf "$root.part"
    debootstrap --variant=minbase --include="$packages" \
        "${VERSION_CODENAME:?}" "$root.part" >"$lab/debootstrap.log" 2>&1 ||
        { tail -5 "$lab/debootstrap.log" >&2; fail "debootstrap failed"; }
    mv "$root.part" "$root"
}

case $verb in
up)
    [ "$(id -u)" = 0 ] || fail "needs root (boots a container)"
    command -v systemd-nspawn >/dev/null || fail "needs systemd-nspawn (package systemd-container)"
    [ -d "$root" ] || make_root
    [ ! -e "$state" ] || fail "$name is already up, or was left behind: $0 down $name"
    mkdir -p "$state"
    mkdir "$cgroup"
    # A view of cgroup v2 alone, whatever this machine mounts, and a branch of it that nobody else is in.
    (
        echo "$BASHPID" >"$cgroup/cgroup.procs"
        exec unshare --mount --propagation private bash -c '
            umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup || exit 1
            SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_SECCOMP=0 exec systemd-nspawn "$@"' nspawn \
            --quiet --directory="$root" --machine="$name" --volatile=overlay --boot --register=no --keep-unit \
            --console=pipe --capability=all --link-journal=no --private-network "$@"
    ) </dev/null >"$state/console" 2>&1 &
    echo $! >"$state/nspawn"
    for _ in $(seq 600); do
        kill -0 "$(cat "$state/nspawn")" 2>/dev/null || { cat "$state/console" >&2; fail "the container ended"; }
        for pid in $(pgrep -P "$(cat "$state/nspawn")" || :); do
            [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = systemd ] || continue
            echo "$pid" >"$state/leader"
            case $(inside systemctl is-system-running 2>/dev/null || :) in
            running | degraded) exit 0 ;;
            esac
        done
        sleep 0.1
    done
    tail -20 "$state/console" >&2
    fail "$name did not boot"
    ;;
sh) inside "$@" ;;
down)
    [ -d "$state" ] || exit 0
    nspawn=$(cat "$state/nspawn")
    # SIGRTMIN+4 asks systemd to power off.
    [ ! -e "$state/leader" ] || kill -s RTMIN+4 "$(cat "$state/leader")" 2>/dev/null || :
    for _ in $(seq 100); do
        kill -0 "$nspawn" 2>/dev/null || break
        sleep 0.1
    done
    ! kill -0 "$nspawn" 2>/dev/null || kill -KILL "$nspawn"
    for _ in $(seq 50); do
        [ -d "$cgroup" ] || break
        find "$cgroup" -depth -type d -exec rmdir {} \; 2>/dev/null || sleep 0.1
    done
    rm -rf "$state"
    ;;
*) fail "unknown verb $verb" ;;
esac
