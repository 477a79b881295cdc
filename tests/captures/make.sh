#!/bin/bash
# Record the captures of this directory again, with real tools, in a lab of network namespaces (root); benign.sh records those of benign/.
# usage: make.sh [OUT]     OUT defaults to this directory; README.md here says what each file shows.
#        ONLY=REGEX make.sh    only the files whose names match it
#
# New recordings have new timestamps and ports in another order: the goldens that quote them change too.
set -eu
where=$(cd "$(dirname "$0")" && pwd)
out=$(mkdir -p "${1:-$where}" && cd "${1:-$where}" && pwd)
tools="nmap masscan zmap hping3 scan6 tcp6 tcpdump curl openssl socat ovs-vswitchd traceroute python3 $([ "${ONLY:-}" ] || echo editcap)"
. "$where/recorder.sh"

scan() { at s1 nmap -n -Pn -T4 "$@"; }
# masscan stays when its --wait is over and it receives nothing: the limit ends it.
sweep() { timeout 4 ip netns exec "$lab-s1" masscan "$@" || [ $? = 124 ]; }
export -f at scan sweep; export lab
T=192.0.2.10 T6=2001:db8:2::10

# -- scans -------------------------------------------------------------------------------------------------------
serving t serve 80 443 8080
record syn-scan t eth0 "tcp" scan -sS -p1-1000 $T
record connect-scan t eth0 "tcp" scan -sT -p1-600 $T
# What the host answered is in these, too: with three open ports, of 30.
way=inout record answered-syn-scan t eth0 "tcp" scan -sS -p60-80,436-443,8080 $T
way=inout record answered-connect-scan t eth0 "tcp" scan -sT -p60-80,436-443,8080 $T
way=inout record answered-ipv6-connect-scan t eth0 "tcp" scan -6 -sT -p60-80,436-443,8080 $T6
record ipv6-scan t eth0 "ip6 and tcp" scan -6 -sS -p1-600 $T6
router=$(at gw cat /sys/class/net/a0/address)
record masscan t eth0 "tcp" sweep --range $T -p1-500 \
  --rate 1000 --wait 0 -e eth0 --source-ip 198.51.100.7 --router-mac "${router//:/-}"
record horizontal-and-vertical gw a0 "tcp" scan -sS -p20-49 $T 192.0.2.20
record fragmented-scan t eth0 "ip and not icmp" scan -sS -f -p1-100 $T
dump="-y LINUX_SLL" record cooked-v1 t any "tcp" scan -sS -p1-60 $T
dump="-y LINUX_SLL2" record cooked-v2 t any "tcp" scan -sS -p1-60 $T
dump="--nano" record nanoseconds t eth0 "tcp" scan -sS -p1-60 $T
serving gw tun "$lab-s1" tun0 203.0.113.7/24 "$lab-t" tun0 203.0.113.10/24
record raw t tun0 "tcp" scan -sT -p1-60 203.0.113.10
if wanted null; then actor relink "$out/raw.pcap" null "$out/null.pcap"; fi
if wanted loop; then actor relink "$out/raw.pcap" loop "$out/loop.pcap"; fi
if wanted pcapng; then
  editcap -F pcapng "$out/syn-scan.pcap" "$work/all.pcapng"
  editcap -r "$work/all.pcapng" "$out/pcapng.pcapng" 1-200
fi

# Exact to the microsecond, so written and not recorded.
if wanted paced; then
  actor paced "$out/slow-under.pcap" $(seq 0 0.54 60)
  actor paced "$out/slow-over.pcap" $(seq 0 0.52 60)
  actor paced "$out/split-9.9s.pcap" 0 .01 .02 .03 .04 .05 .06 .07 .08 .09 \
    9.81 9.82 9.83 9.84 9.85 9.86 9.87 9.88 9.89 9.9
  actor paced "$out/split-10.3s.pcap" 0 .01 .02 .03 .04 .05 .06 .07 .08 .09 \
    10.21 10.22 10.23 10.24 10.25 10.26 10.27 10.28 10.29 10.3
fi

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

# -- techniques --------------------------------------------------------------------------------------------------
# What a scan asks for, in every way that nmap knows.
for technique in fin=-sF null=-sN xmas=-sX maimon=-sM ack=-sA window=-sW udp=-sU sctp=-sY; do
  record "${technique%%=*}-scan" t eth0 "ip and not arp" scan "${technique#*=}" -p1-60 $T
done
# What the host refused is in these, too: that tells them from packets of a connection.
for technique in maimon=-sM ack=-sA window=-sW; do
  way=inout record "answered-${technique%%=*}-scan" t eth0 "tcp" scan "${technique#*=}" -p1-60 $T
done
way=inout record answered-ipv6-ack-scan t eth0 "ip6 and tcp" scan -6 -sA -p1-60 $T6
record odd-scan t eth0 "tcp" scan -sS --scanflags SYNFIN -p1-60 $T
record odd-rst-scan t eth0 "tcp" scan -sS --scanflags FINRSTURG -p1-60 $T
record protocol-scan t eth0 "ip" scan -sO $T
record ipv6-fin-scan t eth0 "ip6 and tcp" scan -6 -sF -p1-60 $T6
record ipv6-udp-scan t eth0 "ip6 and udp" scan -6 -sU -p1-60 $T6
record decoys t eth0 "tcp" scan -sS -p1-30 -D 198.51.100.101,198.51.100.102,203.0.113.5,ME $T
record scan-delay t eth0 "tcp" scan -sS --scan-delay 400ms -p1-40 $T
record polite-scan t eth0 "tcp" at s1 nmap -n -Pn -T2 -sS -p1-30 $T
# A port a second, for the slow rule as it is shipped.
limit=90 record slow-scan t eth0 "tcp" scan -sS --scan-delay 1s --max-retries 0 -p1-65 $T
# It is cut off after 1,000 s, when it has asked for 60 ports: now and then it asks for one again, to see how the network is.
limit=1000 record sneaky-scan t eth0 "tcp" at s1 nmap -n -Pn -T1 -sS --max-retries 0 -p1-61 $T
# The zombie is behind the router.
serving gw zombie idle 203.0.113.65/26
record idle-scan t eth0 "tcp" at s2 nmap -n -Pn -T4 -sI 203.0.113.66:80 -p1-30 $T
# Who is there, and then what of a small network and of a wider one. Seen at the router.
for asks in echo=-PE time=-PP netmask=-PM; do
  record "icmp-${asks%=*}-sweep" gw a0 "icmp" at s1 nmap -n -sn "${asks#*=}" --max-retries 0 192.0.2.0/27
done
record icmp-ipv6-sweep gw a0 "icmp6 and ip6[40] == 128" at s1 nmap -6 -n -sn -PE --max-retries 0 2001:db8:2::/123
record network-scan gw a0 "tcp" scan -sS --max-retries 0 -p1-25 192.0.2.0/28
record wider-network-scan gw a0 "tcp" scan -sS --max-retries 0 -p1-20 192.0.2.0/27
router6=$(at gw cat /sys/class/net/a0/address)
record masscan-ipv6 t eth0 "ip6 and tcp" sweep --range $T6 -p1-100 --rate 1000 --wait 0 -e eth0 \
  --source-ip 2001:db8:51::7 --router-mac-ipv6 "${router6//:/-}"
# One port of many hosts: no scan of ports. Seen at the router.
record zmap gw a0 "tcp" at s1 timeout 20 zmap -q -p 22 -B 1M --cooldown-time=1 -i eth0 -S 198.51.100.7 -G "$router" \
  -o /dev/null --blacklist-file=/dev/null 192.0.2.0/24
record hping3 t eth0 "tcp" at s1 timeout 20 hping3 -S -p ++1 -c 60 -i u2000 $T
record hping3-xmas t eth0 "tcp" at s1 timeout 20 hping3 -F -P -U -p ++1 -c 60 -i u2000 $T
record scan6 t eth0 "ip6 and tcp" at s1 timeout 30 scan6 -i eth0 -d $T6 -j tcp:1-60

# -- rules behind the first --------------------------------------------------------------------------------------
# Another address of the /48 each second (tcp6 draws by the clock), so another /64.
hop() { for port in $(seq 1 70); do at s1 timeout 5 tcp6 -i eth0 -s 2001:db8:51::/48 -d $1 -a $port -X S || :; done; }
# Each probe from one of 64 addresses: two or three ports each.
shared() { timeout 4 ip netns exec "$lab-s1" masscan --range $1 -p1-160 --rate 1000 --wait 0 -e eth0 \
  --source-ip 198.51.100.128-198.51.100.191 --router-mac "$2" || [ $? = 124 ]; }
# Hosts and ports by chance, and fewer than 20 of either within 10 s.
block() { timeout 55 ip netns exec "$lab-s1" masscan --range 192.0.2.0/27 -p1-24 --rate 1.5 --wait 0 -e eth0 \
  --source-ip 198.51.100.7 --router-mac "$1" || [ $? = 124 ]; }
export -f hop shared block
record ipv6-hop t eth0 "ip6 and tcp" hop $T6
record distributed t eth0 "tcp" shared $T "${router//:/-}"
record block gw a0 "tcp" block "${router//:/-}"

# -- VLANs, labels and tunnels -------------------------------------------------------------------------------------
# nmap behind the tunnels of a real implementation: the kernel's own VXLAN, socat for IP in IP, Open vSwitch for the rest, which needs no
# module of the kernel. s2 is the switch: what nmap sends from `inner` leaves by eth0 with another header, and the bridge `phy` has s2's address.
ovs() { ovs-vsctl --db="unix:$work/db.sock" --timeout=10 "$@"; }
# switch: s2's eth0 becomes a port of the bridge phy, which takes its addresses.
switch() {
  local program mac
  export OVS_RUNDIR=$work OVS_LOGDIR=$work OVS_DBDIR=$work
  ovsdb-tool create "$work/conf.db"
  ip netns exec "$lab-s2" ovsdb-server "$work/conf.db" --remote="punix:$work/db.sock" --unixctl="$work/db.ctl" 2>"$work/db.log" & children+=($!)
  until [ -S "$work/db.sock" ]; do sleep .1; done
  ip netns exec "$lab-s2" ovs-vswitchd "unix:$work/db.sock" --unixctl="$work/switch.ctl" 2>"$work/switch.log" & children+=($!)
  ovs --no-wait init
  ovs set Open_vSwitch . other_config:vlan-limit=2
  mac=$(at s2 cat /sys/class/net/eth0/address)
  ovs add-br phy -- set bridge phy datapath_type=netdev other_config:hwaddr="$mac" -- add-port phy eth0
  ovs add-br middle -- set bridge middle datapath_type=netdev
  at s2 ip addr flush dev eth0
  at s2 ip addr add 198.51.100.8/24 dev phy
  at s2 ip link set phy up
  at s2 ip route replace default via 198.51.100.1
  until [ -S "$work/switch.ctl" ]; do sleep .1; done
  ovs-appctl -t "$work/switch.ctl" tnl/arp/set phy 198.51.100.1 "$router" >/dev/null
}
# inner BRIDGE [KEY=VALUE...]: a port for nmap on this bridge.
inner() {
  ovs --if-exists del-port inner -- --if-exists del-port tunnel
  ovs add-port "$1" inner "${@:2}" -- set interface inner type=internal
  at s2 sysctl -qw net.ipv6.conf.inner.disable_ipv6=1
  at s2 ip link set inner up
  at s2 ip addr add 203.0.113.129/25 dev inner
  at s2 ip neigh replace 203.0.113.200 lladdr 02:00:00:00:00:c8 dev inner
}
within() { at s2 nmap -n -Pn -T4 -sS --max-retries 0 --send-ip -e "$@"; }
export -f within
if wanted "vlan|qinq|mpls|tunnel-gre|tunnel-gretap|tunnel-erspan|tunnel-geneve"; then
  switch
  # On the wire of the router, which is in no VLAN and reads no labels.
  inner phy tag=10
  record vlan gw a0 "vlan" within inner -p1-30 203.0.113.200
  ovs add-port phy outer tag=100 vlan_mode=dot1q-tunnel other_config:qinq-ethtype=802.1ad \
    -- set interface outer type=patch options:peer=across -- add-port middle across -- set interface across type=patch options:peer=outer
  inner middle tag=20
  record qinq gw a0 "vlan" within inner -p1-30 203.0.113.200
  inner phy
  ovs-ofctl -O OpenFlow13 add-flow "unix:$work/phy.mgmt" "in_port=inner,ip,actions=push_mpls:0x8847,set_field:1000->mpls_label,output:eth0"
  record mpls gw a0 "mpls" within inner -p1-30 203.0.113.200
  ovs-ofctl -O OpenFlow13 del-flows "unix:$work/phy.mgmt" "in_port=inner"
  inner middle
  for tunnel in "gre options:packet_type=legacy_l3" gretap "erspan options:key=1 options:erspan_ver=1 options:erspan_idx=1" "geneve options:key=7"; do
    read -r kind options <<<"$tunnel"
    ovs --if-exists del-port tunnel -- add-port middle tunnel -- set interface tunnel type="${kind/gretap/gre}" options:remote_ip=$T $options
    # Else it floods, and a port that is seconds old is no part of that.
    ovs-ofctl add-flow "unix:$work/middle.mgmt" "in_port=inner,ip,actions=output:tunnel"
    record "tunnel-$kind" t eth0 "ip and not arp" within inner -p1-40 203.0.113.200
  done
fi
if wanted tunnel-vxlan; then
  at s1 ip link add inner type vxlan id 7 remote $T dstport 4789 dev eth0
  at s1 sysctl -qw net.ipv6.conf.inner.disable_ipv6=1
  at s1 ip addr add 203.0.113.129/25 dev inner
  at s1 ip link set inner up
  at s1 ip neigh replace 203.0.113.200 lladdr 02:00:00:00:00:c8 dev inner
  record tunnel-vxlan t eth0 "udp" scan -sS --max-retries 0 --send-ip -e inner -p1-40 203.0.113.200
  at s1 ip link del inner
fi
for kind in ipip=4 6in4=41; do
  wanted "tunnel-${kind%=*}" || continue
  ip netns exec "$lab-s1" socat TUN,tun-name=inner,iff-no-pi,iff-up "IP4-SENDTO:$T:${kind#*=}" & children+=($!)
  until at s1 ip link show inner >/dev/null 2>&1; do sleep .1; done
  case $kind in
  ipip*) at s1 sysctl -qw net.ipv6.conf.inner.disable_ipv6=1; at s1 ip addr add 203.0.113.129/25 dev inner; goal=(203.0.113.200) ;;
  6in4*) at s1 ip -6 addr add 2001:db8:77::7/64 dev inner nodad; goal=(-6 2001:db8:77::10) ;;
  esac
  record "tunnel-${kind%=*}" t eth0 "ip proto ${kind#*=}" scan -sS --max-retries 0 -e inner -p1-40 "${goal[@]}"
  kill "${children[-1]}"; wait "${children[-1]}" 2>/dev/null || :
done

# -- who looks like a scanner --------------------------------------------------------------------------------------
# Answers to what t asks by UDP, on as many ports as it asks from; both ways, as a mirror port has them, and what arrives alone.
serving srv echo 53 123 443 500 4500 7777
way=inout snap=74 record udp-answers t eth0 "udp" at t python3 "$here/traffic.py" ask 192.0.2.20 60 53 123 443 4500 7777
snap=74 record udp-answers-inbound t eth0 "udp" at t python3 "$here/traffic.py" ask 192.0.2.20 60 53 123 443 4500
record multicast t eth0 "udp" at srv python3 "$here/traffic.py" announce 192.0.2.20 40
# A health checker that opens 25 ports every ten seconds; Prometheus at first sight of 15 and of 40 exporters of one host.
serving t serve $(seq 9100 9139)
record health-checker t eth0 "tcp[tcpflags] & tcp-syn != 0" at s1 python3 "$here/traffic.py" rounds $T 10 2 $(seq 9100 9124)
record prometheus-15 t eth0 "tcp[tcpflags] & tcp-syn != 0" at s1 python3 "$here/traffic.py" spread $T 15 $(seq 9100 9114)
record prometheus-40 t eth0 "tcp[tcpflags] & tcp-syn != 0" at s1 python3 "$here/traffic.py" spread $T 15 $(seq 9100 9139)
# A client of NFS 3 (rpcbind, mountd, nfs, lockd, statd) and one of a Windows server; retries at ports that answer nothing.
record nfs-client t eth0 "tcp[tcpflags] & tcp-syn != 0" at s1 python3 "$here/traffic.py" rounds $T 1 4 111 2049 20048 32803 662
record windows-client t eth0 "tcp[tcpflags] & tcp-syn != 0" at s1 python3 "$here/traffic.py" rounds $T 1 4 \
  53 88 135 139 389 445 464 636 3268 3389 5985 9389 49664 49667 49670
at t nft -f - <<<'table inet filtered { chain in { type filter hook input priority 0; tcp dport 7000-7011 drop; }; }'
record retries t eth0 "tcp" at s1 python3 "$here/traffic.py" patient $T 8 $(seq 7000 7011)
at t nft delete table inet filtered
record half-open-monitor t eth0 "tcp" at s1 sh -c "for i in 1 2 3 4 5; do nmap -n -Pn -T4 -sS -p22,25,53,80,443 $T; sleep 1; done"
# One proxy in front of four services.
serving t serve 8000 8001 8002 8003
record proxy t eth0 "tcp[tcpflags] & tcp-syn != 0" at s1 python3 "$here/traffic.py" rounds $T 0 60 8000 8001 8002 8003
# Peer-to-peer behind a gateway: one inside, a port each of many outside. Seen at the router, where it looks like a scan.
record peer-to-peer gw b0 "tcp" at t python3 "$here/traffic.py" peers 198.51.100 40
# A traceroute with the usual sixteen packets on their way at once, and one with twice as many.
record traceroute t eth0 "udp" at s1 traceroute -n $T
record traceroute-wide t eth0 "udp" at s1 traceroute -n -N 32 $T
record ntp-broadcast t eth0 "udp" at srv python3 "$here/traffic.py" broadcast 192.0.2.255 40

all_small
