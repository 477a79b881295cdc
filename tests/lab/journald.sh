#!/bin/sh
# A room in which a real systemd-journald can be started, killed and started again without the host noticing:
# own mounts, processes and IPC, an empty /run and /var/log, a /dev of a few nodes. Runs CMD inside; everything
# in the room ends with it. Needs root.
#
# usage: journald.sh CMD [ARG...]
set -eu

fail() { echo "journald.sh: $*" >&2; exit 1; }

if [ "${1:-}" != --inside ]; then
    [ "$(id -u)" = 0 ] || fail "needs root (own mount and process namespaces)"
    [ -x /lib/systemd/systemd-journald ] || fail "needs systemd-journald (package systemd)"
    [ -e /etc/machine-id ] || fail "needs /etc/machine-id (systemd-machine-id-setup makes one)"
    exec unshare --mount --ipc --pid --fork --kill-child --mount-proc --propagation private "$0" --inside "$@"
fi
shift

# journald insists on /dev/log and would read the kernel's log: give it a /dev that has neither.
dev=$(mktemp -d /tmp/journald-dev.XXXXXX)
mount -t tmpfs -o mode=755 tmpfs "$dev"
for node in null zero full random urandom; do
    : >"$dev/$node"
    mount --bind "/dev/$node" "$dev/$node"
done
: >"$dev/kmsg"
mount --bind /dev/null "$dev/kmsg"
mkdir "$dev/shm"
ln -s /proc/self/fd "$dev/fd"
ln -s /run/systemd/journal/dev-log "$dev/log"
mount --rbind "$dev" /dev
umount -l "$dev"
rmdir "$dev"

mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /var/log
mkdir -p /run/systemd/journal /run/systemd/journald.conf.d /run/log/journal
echo 5f0b7a4f8d8e4b0a9a4b3c2d1e0f9a8b >/run/machine-id
mount --bind /run/machine-id /etc/machine-id
# No rate limit of journald's own: a test of ours must not pass because journald dropped the rest.
printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nReadKMsg=no\nAudit=no\n' \
    >/run/systemd/journald.conf.d/lab.conf

exec "$@"
