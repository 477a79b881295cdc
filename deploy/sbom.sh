#!/bin/sh
# What is inside the program, as a CycloneDX bill of materials: target/dist/portscan_exporter.cdx.json. Each crate that is linked in, with its
# version, licence and checksum; and, once `make static` has built them in, libpcap and glibc, which no lock file knows.
set -eu
cd "$(dirname "$0")/.."
name=portscan_exporter
target=$(rustc -vV | sed -n 's/^host: //p')
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
"${CARGO:-cargo}" cyclonedx --quiet --format json --spec-version 1.5 --target "$target" --no-build-deps --override-filename "$name.cdx"
# One for each package of the workspace; that of the tests is in no program.
rm -f tests/lab/$name.cdx.json
mkdir -p target/dist
libpcap=$(cat target/static/source/libpcap/VERSION 2>/dev/null || :)
libc=$(dpkg-query -W -f '${Version}' libc6-dev 2>/dev/null || :)
jq --arg libpcap "$libpcap" --arg libc "$libc" '
  def library($name; $version; $licence):
    {type: "library", "bom-ref": "pkg:generic/\($name)@\($version)", name: $name, version: $version,
     licenses: [{license: {id: $licence}}], purl: "pkg:generic/\($name)@\($version)"};
  if $libpcap == "" then . else
    .components += [library("libpcap"; $libpcap; "BSD-3-Clause"), library("glibc"; $libc; "LGPL-2.1-or-later")]
  end' $name.cdx.json >target/dist/$name.cdx.json
rm -f $name.cdx.json
echo "target/dist/$name.cdx.json: $(jq '.components | length' target/dist/$name.cdx.json) components"
