# make run [IFACE=eth0]   installs what building needs, builds, captures
# make demo               a scan from the packet to the mail, in namespaces of its own; needs no root
# make test               installs what the tests need and runs everything that CI runs
# make lint, make bench
.POSIX:
CARGO ?= cargo
BIN = target/release/portscan_exporter
SUDO = $$([ "$$(id -u)" = 0 ] || echo sudo)

# What the tests use beside Rust: real scanners, Prometheus, Alertmanager, journald and systemd, all from Debian.
TEST_PACKAGES = libpcap-dev gcc nmap masscan tcpdump prometheus prometheus-alertmanager victoria-metrics iproute2 systemd \
  systemd-container debootstrap dbus util-linux procps jq curl python3 python3-jsonschema fail2ban nftables \
  iputils-ping strace

.PHONY: run demo build test lint bench build-needs test-needs

run: build
	$(SUDO) $(BIN) $${IFACE:+-i $$IFACE}

demo: build
	@python3 demo/demo.py $(BIN)

build: build-needs
	$(CARGO) build --release --locked

# libpcap's headers and a linker, with whatever package manager is here.
build-needs:
	@if [ -e /usr/include/pcap/pcap.h ] && command -v cc >/dev/null; then :; \
	elif command -v apt-get >/dev/null; then $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q --no-install-recommends libpcap-dev gcc libc6-dev; \
	elif command -v dnf >/dev/null; then $(SUDO) dnf install -y libpcap-devel gcc; \
	elif command -v apk >/dev/null; then $(SUDO) apk add libpcap-dev gcc musl-dev; \
	elif command -v pacman >/dev/null; then $(SUDO) pacman -S --needed --noconfirm libpcap gcc; \
	else echo "install the libpcap headers and a C compiler, then try again" >&2; exit 1; fi

# A test that misses its tools fails; so they are installed first. Debian only.
test-needs:
	@if ! dpkg-query -W -f '$${db:Status-Abbrev}\n' $(TEST_PACKAGES) 2>/dev/null | awk '!/^ii/ {bad=1} END {exit bad || NR < 1}' \
	  || ! dpkg-query -W $(TEST_PACKAGES) >/dev/null 2>&1; then \
	  command -v apt-get >/dev/null || { echo "the tests need a Debian system" >&2; exit 1; }; \
	  $(SUDO) apt-get update -q && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $(TEST_PACKAGES); fi
	@if [ "$$(id -u)" != 0 ]; then echo "the tests make network namespaces and capture: run them as root (sudo -E make test)" >&2; exit 1; fi

lint: build-needs
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

test: test-needs lint
	$(CARGO) test --locked --no-fail-fast

bench: build
	$(CARGO) bench --locked
