#!/bin/bash
# The Debian package under a real systemd, in a container of its own: lintian, install, scan, upgrade with a changed configuration,
# remove, purge. Needs root; `make check-deb` builds the package and installs what this needs.
set -euo pipefail
cd "$(dirname "$0")/../.."
name=package-$$
. tests/package/machine.sh

deb=$(ls -t target/debian/portscan-exporter_*.deb | head -1)
step "lintian: $deb"
# Not uploaded to Debian: it closes no bug. It keeps the names of its functions, for backtraces.
lintian --allow-root --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs,unstripped-binary-or-object "$deb"

# The next version, as a package of the same files; not beside it, where somebody would install it by a pattern.
next=target/check-deb/upgrade
rm -rf "$next"
mkdir -p target/check-deb
dpkg-deb -R "$deb" "$next"
sed -i 's/^Version: .*/Version: 9.0.0-1/' "$next/DEBIAN/control"
echo "# A comment that the new version brings." >>"$next/etc/default/portscan_exporter"
dpkg-deb --root-owner-group -b "$next" target/check-deb/upgrade.deb >/dev/null

boot --bind-ro="$PWD/$deb:/root/first.deb" --bind-ro="$PWD/target/check-deb/upgrade.deb:/root/next.deb"

step "install"
inside dpkg -i /root/first.deb | tail -3
works /usr/share/bash-completion/completions/portscan_exporter

step "its configuration is reloaded"
reloads

step "systemd's own socket"
inside cp /usr/share/doc/portscan_exporter/portscan_exporter.socket /etc/systemd/system/
inside sed -i 's/^ARGS=/ARGS=--web.systemd-socket /' /etc/default/portscan_exporter
inside systemctl daemon-reload
inside systemctl stop portscan_exporter
inside systemctl start portscan_exporter.socket
! inside systemctl is-active --quiet portscan_exporter || fail "it did not wait for the first scrape"
# The first question starts it.
eventually "readiness" ready
inside systemctl restart portscan_exporter
ready || fail "a question during a restart was refused"
inside systemctl stop portscan_exporter.socket portscan_exporter
inside rm /etc/systemd/system/portscan_exporter.socket
inside sed -i 's/--web.systemd-socket //' /etc/default/portscan_exporter
inside systemctl daemon-reload
inside systemctl start portscan_exporter
eventually "readiness" ready
first=$(pid)

step "upgrade: what was changed stays, and the new program runs"
inside dpkg -i /root/next.deb | tail -2
is_upgraded
inside grep -q 'A comment that' /etc/default/portscan_exporter || fail "a file that nobody changed is the old one"

step "remove: it ends, its configuration stays"
inside dpkg -r portscan-exporter | tail -1
is_removed
inside test -e /etc/portscan_exporter/config.yml || fail "the configuration is gone"

step "purge: nothing is left"
inside dpkg -P portscan-exporter | tail -1
left=$(inside find / -xdev '(' -name '*portscan*' ')' -not -path '/proc/*' -not -path '/sys/*' -not -path '/var/log/journal/*')
[ -z "$left" ] || fail "left: $left"
! inside systemctl cat portscan_exporter >/dev/null 2>&1 || fail "its unit is still known"
echo "package: all is as it should be"
