#!/usr/bin/env python3
"""SYNs of real Windows hosts, taken out of other captures and made nobody's: whose they were, whom they asked and when is written anew,
all else of both headers is as Windows sent it (TTL, identification, ports, sequence number, window, options).

usage: windows.py DIR OUT     DIR: testing/btest/Traces of Zeek's repository (README.md here says which commit)
"""
import pathlib
import struct
import sys

SOURCE, TARGET = bytes([198, 51, 100, 7]), bytes([192, 0, 2, 10])
MACS = bytes.fromhex("020000000010" "020000000007")
START = 1_795_428_000


def frames(path):
    """The link type and the bytes of each frame of a pcap or a pcapng, as far as they can be read."""
    data = path.read_bytes()
    if data[:4] == b"\n\r\r\n":
        order = "<" if data[8:12] == b"\x4d\x3c\x2b\x1a" else ">"
        at, link = 0, None
        while at + 12 <= len(data):
            kind, length = struct.unpack_from(order + "II", data, at)
            if kind == 1:
                link = struct.unpack_from(order + "H", data, at + 8)[0]
            elif kind == 6:
                captured = struct.unpack_from(order + "I", data, at + 20)[0]
                yield link, data[at + 28 : at + 28 + captured]
            at += max(length, 12)
        return
    order = {b"\xd4\xc3\xb2\xa1": "<", b"\x4d\x3c\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">"}.get(data[:4])
    if order is None or len(data) < 24:
        return
    link, at = struct.unpack_from(order + "I", data, 20)[0], 24
    while at + 16 <= len(data):
        captured = struct.unpack_from(order + "I", data, at + 8)[0]
        yield link, data[at + 16 : at + 16 + captured]
        at += 16 + captured


def syns(path):
    """IPv4 packets with a SYN and a TTL of 128, as Windows sends and nobody has passed on."""
    for link, frame in frames(path):
        if link != 1 or frame[12:14] != b"\x08\x00":
            continue
        packet = frame[14 : 14 + int.from_bytes(frame[16:18], "big")]
        if len(packet) >= 40 and packet[0] == 0x45 and packet[8] == 128 and packet[9] == 6 and packet[33] & 0x3F == 2:
            yield packet


def total(data):
    words = sum(struct.unpack(f">{len(data) // 2}H", data))
    while words >> 16:
        words = (words & 0xFFFF) + (words >> 16)
    return ~words & 0xFFFF


def nobodys(packet):
    """The same from and to addresses of documentation, with right sums."""
    packet = bytearray(packet)
    packet[12:20] = SOURCE + TARGET
    packet[10:12] = packet[36:38] = b"\0\0"
    packet[10:12] = total(bytes(packet[:20])).to_bytes(2, "big")
    pseudo = SOURCE + TARGET + bytes([0, 6]) + (len(packet) - 20).to_bytes(2, "big")
    packet[36:38] = total(pseudo + bytes(packet[20:])).to_bytes(2, "big")
    return bytes(packet)


def main():
    where, out = map(pathlib.Path, sys.argv[1:])
    # One for each port, window and list of options.
    kept = {}
    for path in sorted(where.rglob("*.pcap*")):
        for packet in syns(path):
            kept.setdefault((packet[22:24], packet[34:36], packet[40:]), nobodys(packet))
    with out.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for number, (_, packet) in enumerate(sorted(kept.items())):
            frame = MACS + b"\x08\x00" + packet
            micros = 200_000 * number
            file.write(struct.pack("<IIII", START + micros // 1_000_000, micros % 1_000_000, len(frame), len(frame)) + frame)


main()
