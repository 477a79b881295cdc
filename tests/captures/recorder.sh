# What make.sh and benign.sh share: a lab of network namespaces, servers in it, and the recording of what a host receives. Sourced.
# $out is the directory of the recordings, $tools the programs that the script needs.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lab=cap$$ netlab=$here/../lab/netlab.sh work=$(mktemp -d)
children=()
cleanup() {
  for pid in "${children[@]}"; do kill "$pid" 2>/dev/null || :; done
  "$netlab" down "$lab"
  rm -rf "$work"
}
trap cleanup EXIT
"$netlab" up "$lab"
for tool in $tools; do
  command -v "$tool" >/dev/null || { echo "$(basename "$0") needs $tool" >&2; exit 1; }
done

at() { local host=$1; shift; ip netns exec "$lab-$host" "$@"; }
actor() { python3 "$here/traffic.py" "$@"; }

wanted() { local name; for name in ${1//|/ }; do [[ $name =~ ${ONLY:-.} ]] && return; done; false; }

# await FILE WORD: until the program whose output goes to FILE has said WORD.
await() {
  for _ in $(seq 500); do grep -q "$2" "$1" 2>/dev/null && return; sleep .02; done
  echo "no '$2' in $1:" >&2; cat "$1" >&2; exit 1
}

# serving HOST ACTOR...: a server, ready before the next line runs.
serving() {
  local host=$1 log=$work/server.${#children[@]}; shift
  ip netns exec "$lab-$host" python3 "$here/traffic.py" "$@" >"$log" 2>&1 & children+=($!)
  await "$log" ready
}

# record NAME HOST DEVICE FILTER COMMAND...: what HOST receives while COMMAND runs. Extra tcpdump flags in $dump, seconds it may take in $limit.
dump=
record() {
  local name=$1 host=$2 device=$3 filter=$4 err=$work/$1.err; shift 4
  wanted "$name" || return 0
  ip netns exec "$lab-$host" tcpdump -n -Z root -Q "${way:-in}" -i "$device" -s "${snap:-128}" -B 8192 --immediate-mode $dump \
    -w "$out/$name.pcap" "$filter" 2>"$err" & local dumper=$!
  await "$err" "listening on"
  timeout "${limit:-60}" bash -c '"$@"' "$name" "$@" >"$work/$name.out" 2>&1 </dev/null || { [ $? = 124 ] || { cat "$work/$name.out" >&2; exit 1; }; }
  sleep .3 # the last replies
  kill -TERM $dumper 2>/dev/null || :; wait $dumper || :
  grep -q "^0 packets dropped by kernel" "$err" || { echo "$name lost packets" >&2; exit 1; }
}

# Every recording stays small.
all_small() {
  local f size
  for f in "$out"/*.pcap*; do
    size=$(stat -c %s "$f")
    [ "$size" -le 100000 ] || { echo "$f has $size bytes, more than 100000" >&2; exit 1; }
  done
  ls -l "$out"/*.pcap*
}
