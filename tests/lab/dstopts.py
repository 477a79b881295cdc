#!/usr/bin/env python3
"""A connect scan of closed IPv6 ports behind a Destination Options header, as any program with CAP_NET_RAW can make one.

usage: dstopts.py ADDRESS FIRST LAST HEADER_BYTES      fails unless every SYN is answered
"""
import socket
import sys

IPPROTO_IPV6, IPV6_DSTOPTS, SKIP_OVER = 41, 59, 0x1E
address, first, last, size = sys.argv[1], *map(int, sys.argv[2:5])
header, left = bytes([0, size // 8 - 1]), size - 2
while left:
    option = min(left, 256)
    header += bytes([SKIP_OVER, option - 2]) + bytes(option - 2)
    left -= option
for port in range(first, last + 1):
    with socket.socket(socket.AF_INET6) as probe:
        probe.settimeout(10)
        probe.setsockopt(IPPROTO_IPV6, IPV6_DSTOPTS, header)
        try:
            probe.connect((address, port))
        except ConnectionRefusedError:
            continue
        sys.exit(f"port {port} is open")
