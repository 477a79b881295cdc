# make run [IFACE=eth0]   installs what building needs, builds, captures
# make demo               a scan from the packet to the mail, in namespaces of its own; needs no root
# make test               installs what the tests need and runs everything that CI runs
# make lint, make bench
# make static             target/dist/portscan_exporter: one binary for any Linux, with glibc and libpcap inside (on Debian)
# make image [BUILDER=…]  the container image portscan_exporter, with docker if its daemon answers, else with podman
# make deb, make rpm      target/debian/*.deb, target/generate-rpm/*.rpm
# make sbom               target/dist/portscan_exporter.cdx.json: what is inside the program, as CycloneDX
# make release            all of these with their checksums in target/dist
# make check-reproducible builds the static program twice, here and elsewhere, and compares the bytes (on Debian)
# make check-deb          installs, upgrades, removes and purges the package under a real systemd (as root, on Debian)
# make check-rpm          the same of the RPM
# make check-image        the image and the compose file, run and scanned without a registry (as root, on Debian)
.POSIX:
CARGO ?= cargo
BIN = target/release/portscan_exporter
# A client without a daemon builds nothing.
BUILDER ?= $$(if docker info >/dev/null 2>&1; then echo docker; else command -v podman; fi)
SUDO = $$([ "$$(id -u)" = 0 ] || echo sudo)

# What the tests use beside Rust: real scanners, Prometheus, Alertmanager, journald and systemd, all from Debian.
TEST_PACKAGES = libpcap-dev gcc nmap masscan zmap hping3 ipv6toolkit tcpdump prometheus prometheus-alertmanager victoria-metrics iproute2 systemd \
  systemd-container debootstrap dbus util-linux procps jq curl python3 python3-jsonschema fail2ban nftables \
  iputils-ping strace python3-venv openssl chromium python3-prometheus-client

# What check-image uses beside the tools of the tests.
IMAGE_PACKAGES = podman crun docker-compose libcap2-bin

# Each of these tools runs for a second: optimising one takes minutes. One that is installed is not built at all.
CARGO_TOOLS = target/cargo-tools
INSTALL_TOOL = $(CARGO) install --quiet --locked --debug --config profile.dev.debug=0 --root $(CARGO_TOOLS)
DEB_TOOL = 3.8.0
RPM_TOOL = 0.21.1
SBOM_TOOL = 0.5.9

.PHONY: run demo build static image check-image deb check-deb rpm check-rpm sbom release check-reproducible test test-programs lint bench build-needs \
  test-needs test-tools

run: build
	$(SUDO) $(BIN) $${IFACE:+-i $$IFACE}

demo: build
	@python3 demo/demo.py $(BIN)

build: build-needs
	$(CARGO) build --release --locked

static:
	deploy/static.sh

image: static
	@builder=$(BUILDER); \
	  [ -n "$$builder" ] || { echo "no Docker daemon answers, and there is no podman: install one, then try again" >&2; exit 1; }; \
	  "$$builder" build --build-arg PREBUILT=yes --build-arg REVISION="$$(git rev-parse --short=12 HEAD 2>/dev/null)" \
	  -f deploy/container/Containerfile -t portscan_exporter .

deb: build-needs
	deploy/reproducible.sh $(CARGO) build --release --locked
	deploy/package.sh
	@$(CARGO) deb --version 2>/dev/null | grep -Fqw $(DEB_TOOL) || $(INSTALL_TOOL) cargo-deb@$(DEB_TOOL)
	PATH="$$PWD/$(CARGO_TOOLS)/bin:$$PATH" deploy/reproducible.sh $(CARGO) deb --no-build --no-strip

check-deb: test-needs deb
	@dpkg-query -W lintian >/dev/null 2>&1 || $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends lintian
	tests/package/run.sh

rpm: static
	deploy/package.sh
	@$(CARGO) generate-rpm --version 2>/dev/null | grep -Fqw $(RPM_TOOL) || $(INSTALL_TOOL) cargo-generate-rpm@$(RPM_TOOL)
	PATH="$$PWD/$(CARGO_TOOLS)/bin:$$PATH" deploy/reproducible.sh $(CARGO) generate-rpm

check-rpm: test-needs rpm
	tests/package/rpm.sh

sbom: static
	@command -v jq >/dev/null || $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends jq
	@$(CARGO) cyclonedx --version 2>/dev/null | grep -Fqw $(SBOM_TOOL) || $(INSTALL_TOOL) cargo-cyclonedx@$(SBOM_TOOL)
	PATH="$$PWD/$(CARGO_TOOLS)/bin:$$PATH" deploy/sbom.sh

# The newest of each: a directory of packages may hold those of other versions.
release: deb rpm sbom
	cp "$$(ls -t target/debian/portscan-exporter_*.deb | head -1)" "$$(ls -t target/generate-rpm/*.rpm | head -1)" target/dist/
	cd target/dist && rm -f SHA256SUMS && sha256sum -- * >../SHA256SUMS && mv ../SHA256SUMS .

check-reproducible:
	tests/reproducible/run.sh

check-image: test-tools static
	@dpkg-query -W $(IMAGE_PACKAGES) >/dev/null 2>&1 || \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $(IMAGE_PACKAGES)
	tests/container/run.sh

# Rust, a C compiler and libpcap's headers; what is missing is said before anything is installed.
build-needs:
	@deploy/build-needs.sh

# A test that misses its tools fails; so they are installed first. Debian only.
test-needs:
	@if ! dpkg-query -W -f '$${db:Status-Abbrev}\n' $(TEST_PACKAGES) 2>/dev/null | awk '!/^ii/ {bad=1} END {exit bad || NR < 1}' \
	  || ! dpkg-query -W $(TEST_PACKAGES) >/dev/null 2>&1; then \
	  command -v apt-get >/dev/null || { echo "the tests need a Debian system" >&2; exit 1; }; \
	  $(SUDO) apt-get update -q && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $(TEST_PACKAGES); fi
	@if [ "$$(id -u)" != 0 ]; then echo "the tests make network namespaces and capture: run them as root (sudo -E make test)" >&2; exit 1; fi

test-tools: test-needs
	@tests/kubernetes/tools.sh

lint: build-needs
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

# What is downloaded comes while the tests are compiled. The linter is one of them.
test: test-needs build-needs
	$(CARGO) fmt --all --check
	+@$(MAKE) -j2 test-tools test-programs
	tests/run.py "$(CARGO)"

test-programs:
	$(CARGO) test --locked --no-run

bench: build
	$(CARGO) bench --locked
