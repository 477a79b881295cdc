#!/bin/sh
# What a package holds beside the program, made from the files of this repository into target/package: manual pages, completions, and the
# unit, flags and configuration with the paths of a package.
set -eu
cd "$(dirname "$0")/.."
to=target/package
rm -rf "$to"
mkdir -p "$to"
${CARGO:-cargo} run --quiet --locked --profile pages --example pages -- "$to"
# Of the day of the commit, so that the same sources make the same package.
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
version=$(sed -n '/^\[package\]/,/^\[/ s/^version = "\(.*\)"/\1/p' Cargo.toml)
maintainer=$(sed -n 's/^maintainer = "\(.*\)"/\1/p' Cargo.toml)
cat >"$to/changelog" <<END
portscan-exporter ($version-1) unstable; urgency=medium

  * What changed is in /usr/share/doc/portscan_exporter/CHANGELOG.md.

 -- $maintainer  $(LC_ALL=C date -u -R -d "@$epoch")
END
sed 's,/usr/local/bin/,/usr/bin/,g' deploy/portscan_exporter.service >"$to/portscan_exporter.service"
# A file that is there from the start, so that a reload is all it takes to ignore a scanner.
sed 's,^ARGS=$,ARGS=--config.file=/etc/portscan_exporter/config.yml,' deploy/portscan_exporter.default >"$to/portscan_exporter.default"
sed 's,deploy/config.example.yml,/usr/share/doc/portscan_exporter/config.example.yml,' deploy/container/config/config.yml >"$to/config.yml"
