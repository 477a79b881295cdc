#!/bin/bash
# Record the captures of benign/ again: everyday traffic by the programs that make it, in both directions, in a lab of network
# namespaces (root).
# usage: benign.sh [OUT]     OUT defaults to benign/; README.md here says what each file shows.
#        ONLY=REGEX benign.sh    only the files whose names match it
#
# The programs are Debian's: chromium vsftpd tnftp haproxy aria2 prometheus samba smbclient curl dnsmasq-base bind9-dnsutils wrk masscan hping3.
set -eu
where=$(cd "$(dirname "$0")" && pwd)
out=$(mkdir -p "${1:-$where/benign}" && cd "${1:-$where/benign}" && pwd)
tools="chromium vsftpd tnftp haproxy aria2c prometheus smbd smbclient curl dnsmasq dig wrk masscan hping3 nft ss tcpdump python3"
. "$where/recorder.sh"
T=192.0.2.10 SRV=192.0.2.20
way=inout snap=90

# running HOST PORT COMMAND...: a program that serves on this port when the next line runs.
running() {
  local host=$1 port=$2; shift 2
  ip netns exec "$lab-$host" "$@" >"$work/running.${#children[@]}" 2>&1 & children+=($!)
  for _ in $(seq 500); do [ -z "$(at "$host" ss -Hltn "sport = :$port")" ] || return 0; sleep .02; done
  echo "nobody listens on $port of $host:" >&2; cat "$work/running.$((${#children[@]} - 1))" >&2; exit 1
}
# ends SECONDS COMMAND...: a program that does not end by itself.
ends() { timeout "$@" || [ $? = 124 ]; }
export -f at ends; export lab work here

mkdir "$work/files"
chmod 755 "$work" "$work/files"
for i in $(seq 10 49); do echo "file $i" >"$work/files/f$i.txt"; done

# A browser: one page with thirty pictures from two hosts, three ports each.
if wanted browser; then
  serving t serve 80 443 8080
  serving srv serve 80 443 8080
  for i in $(seq 5); do
    for host in $T $SRV; do
      for port in 80 443 8080; do echo "<img src=http://$host:$port/$i.png>"; done
    done
  done >"$work/page.html"
  record browser gw a0 "tcp" ends 20 ip netns exec "$lab-s1" chromium --headless=new --no-sandbox --disable-gpu --no-first-run \
    --disable-background-networking --user-data-dir="$work/chromium" --virtual-time-budget=5000 --dump-dom "file://$work/page.html"
fi

# FTP: forty files by mget, a passive connection each.
if wanted ftp-mget; then
  cat >"$work/vsftpd.conf" <<END
listen=YES
background=NO
anonymous_enable=YES
anon_root=$work/files
no_anon_password=YES
seccomp_sandbox=NO
END
  mkdir -p /var/run/vsftpd/empty
  running t 21 vsftpd "$work/vsftpd.conf"
  mkdir "$work/got"
  record ftp-mget t eth0 "tcp[tcpflags] & (tcp-syn|tcp-fin|tcp-rst) != 0 or tcp and not port 21" \
    at s1 sh -c "cd '$work/got' && printf 'prompt\nmget f*.txt\nquit\n' | tnftp -a $T"
fi

# A load balancer that checks the health of 25 services every ten seconds.
if wanted health-checker; then
  serving t exporters $(seq 9100 9124)
  {
    printf 'global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 2s\n  timeout client 2s\n  timeout server 2s\n'
    printf 'listen checked\n  bind 127.0.0.1:8000\n'
    for port in $(seq 9100 9124); do echo "  server s$port $T:$port check inter 10s"; done
  } >"$work/haproxy.cfg"
  record health-checker t eth0 "tcp" ends 32 ip netns exec "$lab-s1" haproxy -db -f "$work/haproxy.cfg"
fi

# Peer-to-peer: the tracker names sixty peers behind the router; forty of them answer, ten refuse, ten are silent. Seen at the router.
if wanted peer-to-peer; then
  peers=() good=()
  ip -n "$lab-gw" route add 198.18.0.0/15 via 198.51.100.8
  for n in $(seq 0 59); do
    address=198.18.$((4 * n)).7 port=$((20000 + 701 * n))
    [ $((n % 6)) = 5 ] || ip -n "$lab-s2" addr add $address/32 dev lo
    peers+=($address:$port)
    [ $((n % 6)) -gt 3 ] || good+=($address:$port)
  done
  serving s2 swarm "${good[@]}"
  export TRACKER=$SRV
  serving srv tracker 6969 "$work/file.torrent" "${peers[@]}"
  record peer-to-peer gw b0 "tcp and not port 6969" ends 20 ip netns exec "$lab-t" aria2c --dir="$work" --enable-dht=false \
    --bt-enable-lpd=false --enable-peer-exchange=false --bt-max-peers=0 "$work/file.torrent"
fi

# Prometheus and 40 exporters of one host: all up; and twelve of them down.
prometheus() {
  mkdir "$work/prometheus.$1"
  {
    printf 'global: {scrape_interval: 10s, scrape_timeout: 5s}\nscrape_configs:\n  - job_name: node\n    static_configs:\n      - targets:\n'
    for port in $(seq 9100 9139); do echo "          - $T:$port"; done
  } >"$work/prometheus.$1/prometheus.yml"
  record "$1" t eth0 "tcp[tcpflags] & (tcp-syn|tcp-rst|tcp-fin) != 0" ends 35 ip netns exec "$lab-s1" prometheus \
    --config.file="$work/prometheus.$1/prometheus.yml" --storage.tsdb.path="$work/prometheus.$1/data" --web.listen-address=127.0.0.1:9090
}
if wanted prometheus-up; then
  [ "$(at t ss -Hltn 'sport = :9100')" ] || serving t exporters $(seq 9100 9124)
  serving t exporters $(seq 9125 9139)
  prometheus prometheus-up
  kill "${children[-1]}"; wait "${children[-1]}" 2>/dev/null || :
fi
if wanted prometheus-down; then
  [ "$(at t ss -Hltn 'sport = :9100')" ] || serving t exporters $(seq 9100 9124)
  serving t exporters 9125 9126 9127
  prometheus prometheus-down
fi

# A client of a file server.
if wanted file-server; then
  mkdir "$work/samba"
  cat >"$work/smb.conf" <<END
[global]
  server role = standalone server
  map to guest = Bad User
  lock directory = $work/samba
  state directory = $work/samba
  cache directory = $work/samba
  private dir = $work/samba
  pid directory = $work/samba
  ncalrpc dir = $work/samba
  log file = $work/samba/log
  disable spoolss = yes
  load printers = no
[share]
  path = $work/files
  guest ok = yes
  read only = yes
END
  running t 445 smbd --foreground --no-process-group --configfile="$work/smb.conf"
  record file-server t eth0 "tcp" at s1 sh -c "cd '$work/samba'; for n in 1 2 3 4; do
    smbclient --configfile='$work/smb.conf' -N //$T/share -c 'prompt OFF; ls; mget f1*.txt'; smbclient --configfile='$work/smb.conf' -N -L //$T; done"
fi

# Retries at twelve ports that a firewall drops.
if wanted filtered-retries; then
  at t nft -f - <<<'table inet filtered { chain in { type filter hook input priority 0; tcp dport 7000-7011 drop; }; }'
  urls=()
  for port in $(seq 7000 7011); do urls+=("http://$T:$port/"); done
  record filtered-retries t eth0 "tcp" at s1 sh -c "curl -sS --no-progress-meter --parallel --connect-timeout 2 --retry 4 --retry-delay 1 \
    $(printf '%s ' "${urls[@]}") || :"
  at t nft delete table inet filtered
fi

# A resolver that answers two hundred questions, each asked from a port of its own.
if wanted dns-answers; then
  running srv 53 dnsmasq --no-daemon --conf-file=/dev/null --no-resolv --no-hosts --user=root --pid-file= --address=/example.org/192.0.2.99
  for n in $(seq 200); do echo "host$n.example.org A"; done >"$work/names"
  record dns-answers t eth0 "udp" at t dig @$SRV +short +tries=1 -f "$work/names"
fi

# The host's own connections: a hundred, to three ports of a neighbour.
if wanted own-connections; then
  [ "$(at srv ss -Hltn 'sport = :8080')" ] || serving srv serve 80 443 8080
  record own-connections t eth0 "tcp[tcpflags] & (tcp-syn|tcp-fin|tcp-rst) != 0" \
    at t curl -sS --no-progress-meter -o /dev/null "http://$SRV:[80-80]/[1-30]" "http://$SRV:8080/[1-40]" "http://$SRV:443/[1-30]"
fi

# Forty streams that are broken off: what still comes is refused, on the port of each.
if wanted cut-off; then
  serving srv drip 8090
  record cut-off t eth0 "tcp[tcpflags] & (tcp-syn|tcp-fin|tcp-rst) != 0" at t sh -c "curl -sS --no-progress-meter -o /dev/null --parallel \
    --parallel-max 40 --parallel-immediate --max-time 2 'http://$SRV:8090/[1-40]' || [ \$? = 28 ]"
fi

# A load generator: the first eight hundred packets that open its connections.
if wanted load-generator; then
  [ "$(at t ss -Hltn 'sport = :8080')" ] || serving t serve 80 443 8080
  dump="-c 800" record load-generator t eth0 "tcp[tcpflags] & tcp-syn != 0" \
    at s1 wrk --connections 20 --threads 1 --duration 3 --header "Connection: close" "http://$T/"
fi

# Somebody scans srv and says it was t: srv's answers come to t, which resets what it did not ask for.
router=$(at gw cat /sys/class/net/a0/address)
forged() {
  ends 4 ip netns exec "$lab-s1" masscan --range $SRV -p"$1" --rate 200 --wait 0 -e eth0 --source-ip $T --source-port 40000-40255 \
    --router-mac "${router//:/-}"
}
export -f forged; export SRV T router
if wanted syn-ack-backscatter; then
  serving srv serve $(seq 8100 8219)
  record syn-ack-backscatter t eth0 "tcp" forged 8100-8219
fi
if wanted rst-backscatter; then record rst-backscatter t eth0 "tcp" forged 7300-7499; fi

# A flood of forged sources at an open port, which answers each.
if wanted spoofed-flood; then
  [ "$(at t ss -Hltn 'sport = :8080')" ] || serving t serve 80 443 8080
  record spoofed-flood t eth0 "tcp" at s1 sh -c "hping3 -q -S -p 80 --rand-source -c 300 -i u1000 $T || :"
fi

all_small
