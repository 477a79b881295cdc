# Sourced by the checks of packages: a machine of tests/lab/systemd.sh by the name of $name, a host beyond it, waiting, and what every package
# must do there.
lab() { tests/lab/systemd.sh "$@"; }
step() { echo "== $*"; }
fail() {
    echo "$0: $*" >&2
    lab sh "$name" journalctl --no-pager -n 30 >&2 || :
    exit 1
}
inside() { lab sh "$name" "$@"; }
eventually() { # WHAT CMD...: within 30 s
    local what=$1
    shift
    for _ in $(seq 100); do "$@" >/dev/null 2>&1 && return; sleep 0.2; done
    fail "waited in vain for $what"
}

boot() { # NSPAWN-OPTION...: with a way out, and a host beyond it
    trap 'lab down "$name"' EXIT
    lab up "$name" "$@"
    inside ip netns add far
    inside ip link add eth0 type veth peer name far0 netns far
    inside ip addr add 198.51.100.1/24 dev eth0
    inside ip link set eth0 up
    inside ip route add default via 198.51.100.7
    for words in "addr add 198.51.100.7/24 dev far0" "link set far0 up"; do
        # shellcheck disable=SC2086 # words
        inside ip -n far $words
    done
}

# By its address: the container knows no localhost.
ready() { inside timeout 5 portscan_exporter health --ready --web.listen-address=127.0.0.1:10220; }
pid() { inside systemctl show --value -p MainPID portscan_exporter; }
hit() { inside journalctl -u portscan_exporter -o cat PORTSCAN_EVENT=hit | grep 'source=198.51.100.7'; }

found_a_scan() { # its user has one capability, and it sees thirty closed ports asked for
    inside grep -q 'CapEff:	0000000000002000' "/proc/$(pid)/status" || fail "it has more than CAP_NET_RAW"
    inside nsenter --net=/run/netns/far bash -c 'for p in {1001..1030}; do : </dev/tcp/198.51.100.1/$p; done 2>/dev/null; true'
    eventually "the hit in the journal" hit
}

has() { # FILE...
    for file in "$@"; do inside test -s "$file" || fail "no $file"; done
}

sums() { (cd "$1" && find . -type f -exec sha256sum {} + | sort); }

# What the checks of every kind of package have in common: what it does once it is installed and enabled, when its configuration changes,
# and when the next version comes. Between them $first is the process that runs.
works() { # FILE...: which the package has, beside those of every package
    [ "$(inside systemctl is-enabled portscan_exporter)" = enabled ] || fail "it would not start at boot"
    eventually "readiness" ready
    first=$(pid)
    found_a_scan
    has /usr/share/portscan_exporter/alerts/portscan.rules.yml /usr/share/doc/portscan_exporter/runbooks/PortScanDetected.md \
        /usr/share/portscan_exporter/grafana/portscan.json "$@"
    # The examples to which README and runbooks send operators: all of them, and the one program among them can be run.
    local response=/usr/share/portscan_exporter/response
    [ "$(inside sh -c "$(declare -f sums); sums $response")" = "$(sums deploy/response)" ] || fail "not all of deploy/response is in $response"
    inside test -x "$response/portscan-ban" || fail "portscan-ban cannot be run"
}

ignored() { inside portscan_exporter explain 198.51.100.7 --web.listen-address=127.0.0.1:10220 | grep 'ignore.sources'; }
reloads() {
    inside sed -i 's/sources: \[\]/sources: [198.51.100.7]/' /etc/portscan_exporter/config.yml
    inside systemctl reload portscan_exporter
    eventually "the address to be ignored" ignored
    [ "$(pid)" = "$first" ] || fail "a reload restarted it"
}

is_upgraded() {
    inside grep -q 198.51.100.7 /etc/portscan_exporter/config.yml || fail "the configuration was overwritten"
    eventually "readiness" ready
    [ "$(pid)" != "$first" ] || fail "the old program still runs"
}

is_removed() {
    ! inside systemctl is-active --quiet portscan_exporter || fail "it still runs"
    ! inside test -e /usr/bin/portscan_exporter || fail "the program is still there"
}
