#!/bin/bash
# The RPM by `rpm`, under a real systemd, in a container of its own: install, scan, upgrade with a changed configuration, remove. The
# container is a Debian with rpm in it: nothing of the package depends on another, and its program is static. Needs root; `make check-rpm`
# builds the package and installs what this needs.
set -euo pipefail
cd "$(dirname "$0")/../.."
name=rpm-$$
. tests/package/machine.sh
export LAB_PACKAGES=rpm

rpm=$(ls -t target/generate-rpm/*.rpm | head -1)
# The next version, as a package of the same files; not beside it, or `make release` would take it for the newest.
next=target/package/upgrade.rpm
PATH="$PWD/target/cargo-tools/bin:$PATH" "${CARGO:-cargo}" generate-rpm --payload-compress none --set-metadata 'version = "9.0.0"' --output "$next"

boot --bind-ro="$PWD/$rpm:/root/first.rpm" --bind-ro="$PWD/$next:/root/next.rpm"
# This rpm knows none of the packages that dpkg has installed.
tool() { inside rpm --nodeps "$@"; }

step "install: $rpm"
tool -i /root/first.rpm
inside systemctl enable --now portscan_exporter
works /usr/share/man/man8/portscan_exporter.8
tool -V portscan_exporter || fail "a file is not as the package has it"

step "its configuration is reloaded"
reloads

step "upgrade: what was changed stays, and the new program runs"
tool -U /root/next.rpm
is_upgraded

step "remove: it ends, and what was changed is kept beside"
tool -e portscan_exporter
is_removed
! inside test -e /usr/lib/systemd/system/portscan_exporter.service || fail "the unit is still there"
inside grep -q 198.51.100.7 /etc/portscan_exporter/config.yml.rpmsave || fail "the configuration is gone"
echo "rpm: all is as it should be"
