#!/bin/bash
# Record the captures of this directory again, with real tools, in a lab of network namespaces (root).
# usage: make.sh [OUT]     OUT defaults to this directory; README.md here says what each file shows.
#
# New recordings have new timestamps and ports in another order: the goldens that quote them change too.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$(mkdir -p "${1:-$here}" && cd "${1:-$here}" && pwd)
lab=cap$$ netlab=$here/../lab/netlab.sh work=$(mktemp -d)
children=()
cleanup() {
  for pid in "${children[@]}"; do kill "$pid" 2>/dev/null || :; done
  "$netlab" down "$lab"
  rm -rf "$work"
}
trap cleanup EXIT
"$netlab" up "$lab"
for tool in nmap masscan tcpdump editcap curl openssl python3; do
  command -v $tool >/dev/null || { echo "make.sh needs $tool" >&2; exit 1; }
done

at() { local host=$1; shift; ip netns exec "$lab-$host" "$@"; }
actor() { python3 "$here/traffic.py" "$@"; }

# await FILE WORD: until the program whose output goes to FILE has said WORD.
await() {
  for _ in $(seq 500); do grep -q "$2" "$1" 2>/dev/null && return; sleep .02; done
  echo "make.sh: no '$2' in $1:" >&2; cat "$1" >&2; exit 1
}

# serving HOST ACTOR...: a server, ready before the next line runs.
serving() {
  local host=$1 log=$work/server.${#children[@]}; shift
  ip netns exec "$lab-$host" python3 "$here/traffic.py" "$@" >"$log" 2>&1 & children+=($!)
  await "$log" ready
}

# record NAME HOST DEVICE FILTER COMMAND...: what HOST receives while COMMAND runs. Extra tcpdump flags in $dump.
dump=
record() {
  local name=$1 host=$2 device=$3 filter=$4 err=$work/$1.err; shift 4
  ip netns exec "$lab-$host" tcpdump -n -Z root -Q in -i "$device" -s "${snap:-128}" -B 8192 --immediate-mode $dump \
    -w "$out/$name.pcap" "$filter" 2>"$err" & local dumper=$!
  await "$err" "listening on"
  timeout 60 bash -c '"$@"' "$name" "$@" >"$work/$name.out" 2>&1 </dev/null || { [ $? = 124 ] || { cat "$work/$name.out" >&2; exit 1; }; }
  sleep .3 # the last replies
  kill -TERM $dumper; wait $dumper || :
  grep -q "^0 packets dropped by kernel" "$err" || { echo "make.sh: $name lost packets" >&2; exit 1; }
}
scan() { at s1 nmap -n -Pn -T4 "$@"; }
# masscan stays when its --wait is over and it receives nothing: the limit ends it.
sweep() { timeout 4 ip netns exec "$lab-s1" masscan "$@" || [ $? = 124 ]; }
export -f at scan sweep; export lab
T=192.0.2.10 T6=2001:db8:2::10

# -- scans -------------------------------------------------------------------------------------------------------
serving t serve 80 443 8080
record syn-scan t eth0 "tcp" scan -sS -p1-1000 $T
record connect-scan t eth0 "tcp" scan -sT -p1-600 $T
record ipv6-scan t eth0 "ip6 and tcp" scan -6 -sS -p1-600 $T6
router=$(at gw cat /sys/class/net/a0/address)
record masscan t eth0 "tcp" sweep --range $T -p1-500 \
  --rate 1000 --wait 0 -e eth0 --source-ip 198.51.100.7 --router-mac "${router//:/-}"
record horizontal-and-vertical gw a0 "tcp" scan -sS -p20-49 $T 192.0.2.20
record fragmented-scan t eth0 "ip and not icmp" scan -sS -f -p1-100 $T
record vlan t eth0 "" at srv python3 "$here/traffic.py" tags eth0 198.51.100.7 $T vlan 1 30
record qinq t eth0 "" at srv python3 "$here/traffic.py" tags eth0 198.51.100.7 $T qinq 1 30
dump="-y LINUX_SLL" record cooked-v1 t any "tcp" scan -sS -p1-60 $T
dump="-y LINUX_SLL2" record cooked-v2 t any "tcp" scan -sS -p1-60 $T
dump="--nano" record nanoseconds t eth0 "tcp" scan -sS -p1-60 $T
serving gw tun "$lab-s1" tun0 203.0.113.7/24 "$lab-t" tun0 203.0.113.10/24
record raw t tun0 "tcp" scan -sT -p1-60 203.0.113.10
actor relink "$out/raw.pcap" null "$out/null.pcap"
actor relink "$out/raw.pcap" loop "$out/loop.pcap"
editcap -F pcapng "$out/syn-scan.pcap" "$work/all.pcapng"
editcap -r "$work/all.pcapng" "$out/pcapng.pcapng" 1-200

# Exact to the microsecond, so written and not recorded.
actor paced "$out/slow-under.pcap" $(seq 0 0.54 60)
actor paced "$out/slow-over.pcap" $(seq 0 0.52 60)
actor paced "$out/split-9.9s.pcap" 0 .01 .02 .03 .04 .05 .06 .07 .08 .09 \
  9.81 9.82 9.83 9.84 9.85 9.86 9.87 9.88 9.89 9.9
actor paced "$out/split-10.3s.pcap" 0 .01 .02 .03 .04 .05 .06 .07 .08 .09 \
  10.21 10.22 10.23 10.24 10.25 10.26 10.27 10.28 10.29 10.3

# -- nothing to report -------------------------------------------------------------------------------------------
# Only the segments that open a connection, so that a thousand of them stay small.
snap=74 record connections-server t eth0 "tcp[tcpflags] & tcp-syn != 0" \
  at s1 python3 "$here/traffic.py" connect $T 80 1000
snap=74 record connections-client s2 eth0 "tcp[tcpflags] & tcp-syn != 0" \
  at s2 python3 "$here/traffic.py" connect $T 80 1000

# Somebody scans srv and says it was t: srv's replies come to t, on as many ports as the scanner likes.
serving srv serve $(seq 8000 8019)
record backscatter t eth0 "tcp" sweep --range 192.0.2.20 \
  -p7900-8099 --rate 500 --wait 0 -e eth0 --source-ip $T --source-port 40000-40255 --router-mac "${router//:/-}"

# t's own attempts: refused (RST to 150 ports of t) and closed by the other side (FIN to 150 more).
serving srv serve-closing 7001
record rst-fin t eth0 "tcp" at t sh -c "
  python3 '$here/traffic.py' refused 192.0.2.20 7000 150
  python3 '$here/traffic.py' connect 192.0.2.20 7001 150"
record aborted t eth0 "tcp" at s1 python3 "$here/traffic.py" abort $T 80 150

mkdir "$work/files"
for i in $(seq 10 24); do echo "file $i" >"$work/files/f$i.txt"; done
serving t ftp-server $T "$work/files"
record passive-ftp t eth0 "tcp" at s1 curl -sS --no-progress-meter --rate 60/m "ftp://anonymous:x@$T/f[10-24].txt"

record http-load t eth0 "tcp" at s1 python3 "$here/traffic.py" load $T 80 150 10

# A browser opens a handful of connections to each of several hosts and ports at once. Seen at the router.
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/key" -out "$work/crt" -days 2 -subj /CN=site.example 2>/dev/null
cat "$work/key" "$work/crt" >"$work/pem"
export CERTIFICATE=$work/pem
serving srv serve 80 443 8080
pages=()
for host in $T 192.0.2.20; do
  for i in $(seq 6); do pages+=("http://$host/$i" "http://$host:8080/$i"); done
done
for i in $(seq 6); do pages+=("https://192.0.2.20/$i"); done
record browser gw a0 "tcp" at s1 curl -sSk --parallel --parallel-max 30 "${pages[@]}"

record fragments t eth0 "udp or ip[6:2] & 0x3fff != 0" at s1 python3 "$here/traffic.py" big-datagrams $T 60

for f in "$out"/*.pcap "$out"/*.pcapng; do
  size=$(stat -c %s "$f")
  [ "$size" -le 100000 ] || { echo "make.sh: $f has $size bytes, more than 100000" >&2; exit 1; }
done
ls -l "$out"/*.pcap*
