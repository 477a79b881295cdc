#!/bin/bash
# A laboratory of network namespaces: two LANs, a router between them, addresses from the documentation ranges.
#
#   s1 .7   s2 .8 ── 198.51.100.0/24, 2001:db8:51::/64 ──┐
#                                                         gw (.1 on both)
#   t .10  srv .20 ── 192.0.2.0/24,   2001:db8:2::/64  ──┘
#
# t is the watched host, s1 and s2 scan it from another network, srv is its neighbour. Every host's interface is
# `eth0` (the router's are `a0` and `b0`). Nothing lives in the caller's own network but names under /run/netns.
#
# usage (root):  netlab.sh up LAB         make the hosts LAB-s1 LAB-s2 LAB-gw LAB-t LAB-srv LAB-sw
#                netlab.sh down LAB       remove them, and the processes still running inside
#                netlab.sh in LAB HOST CMD...
#                netlab.sh unplug LAB     delete the interface of t
#                netlab.sh plug LAB       give it back, with the same addresses
set -eu
op=${1:?up, down, in, unplug or plug} lab=${2:?name of the lab}
hosts="sw gw s1 s2 t srv"

on() { local host=$1; shift; ip -n "$lab-$host" "$@"; }

# wire HOST IFNAME BRIDGE LAST-BYTE: a cable from the host to the switch, and both its addresses.
wire() {
  local v4=198.51.100 v6=2001:db8:51
  [ "$3" = lanb ] && v4=192.0.2 v6=2001:db8:2
  ip link add "$2" netns "$lab-$1" type veth peer name "to-$1$2" netns "$lab-sw"
  on sw link set "to-$1$2" master "$3" up
  on "$1" link set "$2" up
  on "$1" addr add "$v4.$4/24" dev "$2"
  on "$1" -6 addr add "$v6::$4/64" dev "$2" nodad
  [ "$1" = gw ] && return
  on "$1" route replace default via "$v4.1"
  on "$1" -6 route replace default via "$v6::1"
}

case $op in
up)
  for host in $hosts; do
    ip netns add "$lab-$host"
    # Duplicate address detection and router solicitations would only cost time and add packets nobody asked for.
    # Limits on ICMP and challenge ACKs would make a scanner wait. Spoofed sources must pass the router.
    for setting in net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0 \
      net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv4.icmp_ratelimit=0 \
      net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0; do
      ip netns exec "$lab-$host" sysctl -qw "$setting" 2>/dev/null || :
    done
    on "$host" link set lo up
  done
  for lan in lana lanb; do
    on sw link add "$lan" type bridge mcast_snooping 0
    on sw link set "$lan" up
  done
  wire gw a0 lana 1; wire gw b0 lanb 1
  ip netns exec "$lab-gw" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
  wire s1 eth0 lana 7; wire s2 eth0 lana 8
  wire t eth0 lanb 10; wire srv eth0 lanb 20 ;;
unplug) on t link del eth0 ;;
plug) wire t eth0 lanb 10 ;;
down)
  for host in $hosts; do
    [ -e "/run/netns/$lab-$host" ] || continue
    for pid in $(ip netns pids "$lab-$host"); do kill -KILL "$pid" 2>/dev/null || :; done
    ip netns del "$lab-$host" || :
  done ;;
in) host=${3:?host}; shift 3; exec ip netns exec "$lab-$host" "$@" ;;
*) echo "netlab.sh: unknown operation '$op'" >&2; exit 2 ;;
esac
