#!/bin/sh
# Makes docs/page-*.png: the page in Chromium, beside a real exporter and a real nmap in network namespaces of their own. Needs root.
#
# usage: shots.sh EXPORTER
set -eu

if [ "${2:-}" != --inside ]; then
    exec unshare --net --mount --pid --fork --kill-child --mount-proc --propagation private "$0" "$1" --inside
fi
docs=$(dirname "$0")/../../docs
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Two scanners and a host; the host is this namespace itself.
mount -t tmpfs tmpfs /run
mkdir /run/netns
ip link set lo up
scanner() {
    ip netns add "$1"
    ip link add "$2" type veth peer name eth0 netns "$1"
    ip addr add "$3/24" dev "$2"
    ip link set "$2" up
    ip -n "$1" addr add "$4/24" dev eth0
    ip -n "$1" link set lo up
    ip -n "$1" link set eth0 up
}
scanner near eth0 198.51.100.1 198.51.100.7
scanner far wlan0 203.0.113.1 203.0.113.9
ip link add tun0 type dummy 2>/dev/null || ip link add tun0 type veth peer name tun1

"$1" -i eth0 -i wlan0 -i tun0 --web.listen-address=127.0.0.1:10220 --log.format=logfmt 2>"$work/log" &
until curl -sf http://127.0.0.1:10220/metrics >"$work/page" && grep -q 'portscan_capture_up{interface="eth0"} 1' "$work/page"; do sleep 0.2; done
ip netns exec near nmap -n -Pn -sS -T4 -p1-1000 198.51.100.1 >/dev/null
ip netns exec far nmap -n -Pn -sS -T4 -p21-60,3300-3320,8000-8010 203.0.113.1 >/dev/null
sleep 3

shot() {
    name=$1 size=$2
    shift 2
    timeout -k 5 90 chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-sync \
        --disable-background-networking --disable-component-update --disable-extensions --disable-default-apps \
        --host-resolver-rules='MAP * ~NOTFOUND, EXCLUDE 127.0.0.1' --user-data-dir="$work/$name" --hide-scrollbars \
        --window-size="$size" --virtual-time-budget=6000 --screenshot="$docs/page-$name.png" "$@" http://127.0.0.1:10220/ 2>"$work/$name.log"
    ! grep CONSOLE "$work/$name.log"
}
shot light 1200,1000
shot dark 1200,1000 --blink-settings=preferredColorScheme=0
shot phone 500,1100 --blink-settings=preferredColorScheme=0
