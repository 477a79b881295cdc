#!/bin/bash
# The image and the compose file, without a registry: built from deploy/container/Containerfile with podman, run as the README says in
# the network of a watched host, scanned from another; then the compose file with Debian's own Prometheus and Alertmanager in the
# place of the published images (there is no Grafana here). Needs root; `make check-image` installs what it needs.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD
store=$here/target/container
lab=pe$$
mkdir -p "$store"

step() { echo "== $*"; }
fail() { echo "run.sh: $*" >&2; exit 1; }

# Podman as root without cgroups of its own, with a view of cgroup v2 alone, in the network of a host of the lab (or - for ours).
cat >"$store/podman" <<END
#!/bin/bash
# --ulimit: without CAP_SYS_RESOURCE the runtime cannot raise its defaults.
limits=()
case "\$1" in run | create) limits=(--ulimit nofile=20000:20000 --ulimit nproc=4096:4096 --cgroups=disabled --pull=never) ;; esac
[ "\$1" != build ] || limits=(--isolation chroot --network host --pull=never --format docker)
exec podman --root "$store/root" --runroot "$store/run" --cgroup-manager cgroupfs --runtime crun --events-backend none \\
    "\$1" "\${limits[@]}" "\${@:2}"
END
chmod +x "$store/podman"
inside() { # HOST CMD...
    local host=$1 net=()
    shift
    [ "$host" = - ] || net=(nsenter "--net=/run/netns/$lab-$host")
    unshare --mount --propagation private bash -c 'umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec "$@"' _ \
        "${net[@]}" "$@"
}
podman() { inside t "$store/podman" "$@"; }

bye() {
    podman rm --all --force --time 3 >/dev/null 2>&1 || :
    "$here/tests/lab/netlab.sh" down "$lab" || :
}
trap bye EXIT
"$here/tests/lab/netlab.sh" up "$lab"

eventually() { # WHAT CMD...: within 60 s
    local what=$1
    shift
    for _ in $(seq 300); do "$@" >/dev/null 2>&1 && return; sleep 0.2; done
    for name in $(podman ps --all --format '{{.Names}}'); do
        echo "-- $name" >&2
        podman logs --tail 20 "$name" >&2 || :
    done
    fail "waited in vain for $what"
}
get() { nsenter "--net=/run/netns/$lab-t" curl -fsS "http://127.0.0.1:$1"; }
scan() { nsenter "--net=/run/netns/$lab-s1" nmap -n -Pn -sS -p"$1" 192.0.2.10 >/dev/null; }

step "a base for the build's stage: this machine's Debian"
base=$here/target/lab/base
[ -e "$base" ] || {
    . /etc/os-release
    mkdir -p "$here/target/lab"
    debootstrap --variant=minbase --include=libcap2-bin "${VERSION_CODENAME:?}" "$base.part" >/dev/null && mv "$base.part" "$base"
}
podman image exists localhost/base || tar -C "$base" -c . | podman import - localhost/base

# COMPILE=yes: the image is built as `docker build` does it, program and all, with the Rust of this machine in the place of the image
# that is in a registry. It takes as long as a build from nothing.
if [ "${COMPILE:-}" = yes ]; then
    step "the image, compiled"
    podman image exists localhost/rust || tar -C "$base" -c . |
        podman import --change 'ENV PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin' - localhost/rust
    cargo=$store/cargo
    rm -rf "$cargo" && mkdir -p "$cargo/registry"
    cp -r "${CARGO_HOME:-$HOME/.cargo}/registry/index" "${CARGO_HOME:-$HOME/.cargo}/registry/cache" "$cargo/registry/"
    # Not in the lab: it gets Debian's sources of libpcap, and what compiles them.
    inside - "$store/podman" build -v "$(rustc --print sysroot):/opt/rust:ro" -v "$cargo:/root/.cargo" --build-arg RUST=localhost/rust \
        --build-arg REVISION=compiled -f deploy/container/Containerfile -t compiled . >"$store/compiled.log" 2>&1 ||
        { tail -20 "$store/compiled.log" >&2; fail "it does not build"; }
    podman run --rm --network host --cap-drop=ALL --cap-add=NET_RAW compiled --version | tee "$store/version"
    grep -q 'revision: compiled' "$store/version" || fail "another program"
fi

step "the image"
[ -x target/dist/portscan_exporter ] || fail "make static first"
podman build --quiet --build-arg RUST=localhost/base --build-arg PREBUILT=yes -f deploy/container/Containerfile -t portscan_exporter .
podman images --format '{{.Repository}} {{.Size}}' portscan_exporter

# As the README says, and where the runtime forbids new privileges: root without any privilege but the one.
flags="--read-only --cap-drop=ALL --cap-add=NET_RAW"
for how in "" "--security-opt=no-new-privileges --user=0:0"; do
    step "run ${how:-as it is meant}"
    # shellcheck disable=SC2086 # lists of flags
    podman run --detach --name exporter --network host $flags $how portscan_exporter >/dev/null
    eventually "readiness" get 10220/-/ready
    podman healthcheck run exporter || fail "its health check fails"
    scan 1-100
    hit() { podman logs exporter 2>&1 | grep 'event=hit source=198.51.100.7 '; }
    eventually "the hit in its log" hit
    peak() { get 10220/metrics | grep '^portscan_source_peak_distinct_ports{interface="eth0",source="198.51.100.7",window="10s"} 100$'; }
    eventually "the peak" peak
    pid=$(podman inspect --format '{{.State.Pid}}' exporter)
    caps=$(sed -n 's/^Cap\(Eff\|Prm\|Inh\|Amb\):\t/\1=/p' "/proc/$pid/status" | tr '\n' ' ')
    [ "$caps" = "Inh=0000000000000000 Prm=0000000000002000 Eff=0000000000002000 Amb=0000000000000000 " ] || fail "capabilities: $caps"
    grep -q '^NoNewPrivs:	1' "/proc/$pid/status" || fail "it could gain privileges"
    podman logs exporter 2>&1 | grep 'runs as' | sed 's/^/   /'
    [ "$(sed -n 's/^Uid:\t\([0-9]*\).*/\1/p' "/proc/$pid/status")" = "$([ -n "$how" ] && echo 0 || echo 10220)" ] || fail "another user"
    # The default health check is that of the image; one that asks where nobody listens fails.
    ! podman exec exporter /usr/local/bin/portscan_exporter health --web.listen-address=:9 2>/dev/null || fail "healthy, and nobody there"
    podman stop --time 10 exporter >/dev/null
    podman logs exporter 2>&1 | grep 'msg="portscan ended"' >/dev/null || fail "the open scan was not reported as ended"
    [ "$(podman inspect --format '{{.State.ExitCode}}' exporter)" = 0 ] || fail "it did not end well"
    podman rm exporter >/dev/null
done

step "the compose file"
# What Debian calls prometheus, as the image that the file names: the program, its libraries, a user.
while read -r image program; do
    podman image exists "$image" && continue
    root=$(mktemp -d "$store/image.XXXX")
    mkdir -p "$root/bin" "$root/etc" "$root/tmp" "$root/prometheus" "$root/alertmanager" "$root/etc/prometheus" "$root/etc/alertmanager"
    cp "$(command -v "$program" || echo "/usr/bin/$program")" "$root/bin/main"
    ldd "$root/bin/main" | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p "$root$(dirname "$library")"
        cp -L "$library" "$root$library"
    done
    # The default templates of its messages.
    [ "$program" = prometheus ] || { mkdir -p "$root/usr/share/prometheus"; cp -r /usr/share/prometheus/alertmanager "$root/usr/share/prometheus/"; }
    echo 'nobody:x:65534:65534::/:/bin/false' >"$root/etc/passwd"
    chown -R 65534:65534 "$root/prometheus" "$root/alertmanager"
    tar -C "$root" -c . | podman import --change 'ENTRYPOINT ["/bin/main"]' --change 'USER 65534:65534' - "$image" >/dev/null
    rm -rf "$root"
done <<END
$(sed -n 's/ *image: \(.*prometheus:.*\)/\1 prometheus/p; s/ *image: \(.*alertmanager:.*\)/\1 prometheus-alertmanager/p' deploy/container/compose.yml)
END
# The reference implementation of the format has its say as well.
docker-compose -f deploy/container/compose.yml config >/dev/null
compose() { inside t "$here/target/tools/bin/podman-compose" --podman-path "$store/podman" -f deploy/container/compose.yml "$@"; }
compose up --detach exporter prometheus alertmanager 2>&1 | sed 's/^/   /'
eventually "Prometheus" get 9090/-/ready
scan 1-100
firing() { get '9090/api/v1/alerts' | jq -e '.data.alerts[] | select(.labels.alertname == "PortScanDetected" and .state == "firing")'; }
eventually "the alert" firing
told() { get '9093/api/v2/alerts' | jq -e '.[] | select(.labels.alertname == "PortScanDetected" and .labels.source == "198.51.100.7")'; }
eventually "the alert in Alertmanager" told
podman rm --all --force --time 3 >/dev/null

step "the image with TLS: its health check with the same file"
web=$store/web
rm -rf "$web" && mkdir -p "$web"
openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 \
    -keyout "$web/server.key" -out "$web/server.pem" 2>/dev/null
echo 'tls_server_config: {cert_file: server.pem, key_file: server.key}' >"$web/web.yml"
chown -R 10220:10220 "$web"
tls=/etc/portscan_exporter_web/web.yml
# shellcheck disable=SC2086 # a list of flags
podman run --detach --name exporter --network host $flags -v "$web:/etc/portscan_exporter_web:ro" \
    --health-cmd="[\"/usr/local/bin/portscan_exporter\", \"health\", \"--web.config.file=$tls\"]" \
    portscan_exporter "--web.config.file=$tls" >/dev/null
well() { podman healthcheck run exporter; }
eventually "health over TLS" well
! podman exec exporter /usr/local/bin/portscan_exporter health 2>/dev/null || fail "it does not speak TLS"
podman rm --force --time 3 exporter >/dev/null

step "the compose files with TLS"
# The folder of keys, and Prometheus' own file, in a copy.
copy=$store/copy
rm -rf "$copy" && mkdir "$copy"
cp -r alerts grafana deploy "$copy/"
cp -r "$web" "$copy/deploy/container/web"
chown -R 10220:10220 "$copy/deploy/container/web"
sed -i 's,^    #   scheme,    scheme,; s,^    #   tls_config:.*,    tls_config: {ca_file: /etc/prometheus/exporter.pem},' "$copy/deploy/prometheus.yml"
both="-f $copy/deploy/container/compose.yml -f $copy/deploy/container/compose.tls.yml"
# Merged by the reference implementation: podman-compose adds one list of words to the other.
# shellcheck disable=SC2086 # lists of flags
docker-compose $both config >"$copy/merged.yml"
inside t "$here/target/tools/bin/podman-compose" --podman-path "$store/podman" -f "$copy/merged.yml" up --detach exporter prometheus 2>&1 | sed 's/^/   /'
container=$(podman ps --format '{{.Names}}' | grep exporter)
well() { podman healthcheck run "$container"; }
eventually "health over TLS" well
scraped() { get '9090/api/v1/query?query=up' | jq -e '.data.result[] | select(.metric.job == "portscan" and .value[1] == "1")'; }
eventually "a scrape over TLS" scraped
echo "container: all is as the README says"
