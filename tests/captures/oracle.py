#!/usr/bin/env python3
"""Say from the captures alone who scans, by the definitions and nothing else: slow, obvious, no code of ours.

tshark reads the files; here every probe is kept, and each one recounts the window (t - 10 s, t].

usage: oracle.py [DIR]        compare with expected.tsv; exit 1 if they differ
       oracle.py --write      write expected.tsv
"""
import ipaddress
import pathlib
import subprocess
import sys

WINDOW, THRESHOLD = 10_000_000_000, 20
FIELDS = ["frame.time_epoch", "ip.src", "ipv6.src", "tcp.dstport", "tcp.flags", "ip.flags.mf", "ip.frag_offset"]


def asks(flags):
    """What a TCP packet with these flags is: a SYN, one of no connection ("odd"), or nothing that asks."""
    fin, syn, rst, ack = (bool(flags & bit) for bit in (1, 2, 4, 16))
    if syn:
        return "odd" if fin or rst else None if ack else "syn"
    if rst:
        return "odd" if fin and not ack else None
    return None if ack else "odd"


def probes(path):
    command = ["tshark", "-r", path, "-n", "-o", "ip.defragment:FALSE", "-o", "tcp.check_checksum:FALSE", "-T", "fields"]
    for field in FIELDS:
        command += ["-e", field]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in out.splitlines():
        time, v4, v6, port, flags, more, offset = line.split("\t")
        if not port or more in ("1", "True") or int(offset or 0):
            continue  # not TCP, or a fragment
        kind = asks(int(flags, 16))
        if kind is None:
            continue
        seconds, _, nanos = time.partition(".")
        source = v4 or str(ipaddress.ip_network(f"{v6}/64", strict=False))
        yield int(seconds) * 1_000_000_000 + int(nanos.ljust(9, "0")), (source, kind), int(port)


def scanners(path):
    by_source = {}
    for time, source, port in probes(path):
        by_source.setdefault(source, []).append((time, port))
    for (source, _), seen in sorted(by_source.items()):
        peak = max(len({p for u, p in seen if time - WINDOW < u <= time}) for time, _ in seen)
        if peak >= THRESHOLD:
            yield source, peak, len({p for _, p in seen})


def main():
    here = pathlib.Path(__file__).resolve().parent
    where = pathlib.Path(next((a for a in sys.argv[1:] if a != "--write"), here))
    lines = ["file\tsource\tpeak_distinct_ports\tdistinct_ports"]
    # Nobody looks into tunnels unless told to, and only TCP is read here.
    for path in sorted(path for path in where.rglob("*.pcap*") if not path.name.startswith("tunnel-")):
        found = list(scanners(path)) or [("none", 0, 0)]
        lines += [f"{path.relative_to(where)}\t{source}\t{peak}\t{ports}" for source, peak, ports in found]
    text = "\n".join(lines) + "\n"
    if "--write" in sys.argv:
        (where / "expected.tsv").write_text(text)
    elif text != (where / "expected.tsv").read_text():
        sys.exit("expected.tsv differs from what the captures say:\n" + text)


main()
