#!/usr/bin/env python3
"""The actors of make.sh that no package brings, and the files whose timing must be exact.

  serve PORT...                     accept on the ports, answer one HTTP request a connection, close
  serve-closing PORT                accept and close at once (the server sends the first FIN)
  drip PORT                         answer each connection with a line a fifth of a second, without end
  connect ADDR PORT N               N connections, one after the other, each closed properly
  refused ADDR PORT N               N connections to a closed port
  abort ADDR PORT N                 N connections ended by RST
  load ADDR PORT N PARALLEL         an HTTP load generator: N requests, each on its own connection
  ftp-server ADDR DIR               a small FTP server (passive mode only)
  tun NETNS DEV ADDR NETNS DEV ADDR a point-to-point link of two tun devices
  big-datagrams ADDR N              UDP datagrams that leave in fragments
  zombie DEV ADDR                   a host behind a tun device that numbers its packets: what an idle scan needs
  echo PORT...                      answer UDP datagrams with themselves
  ask ADDR N PORT...                N datagrams to each port, each from a port of its own, and their answers
  announce ADDR N                   N datagrams of mDNS, SSDP and LLMNR each
  broadcast ADDR N                  N datagrams of NTP and NetBIOS to the broadcast address
  rounds ADDR PAUSE N PORT...       N times, with a pause between: a connection to each port
  spread ADDR SECONDS PORT...       one connection to each port, spread evenly over the time
  patient ADDR SECONDS PORT...      wait so long for connections to ports that answer nothing
  peers PREFIX N                    a connection to a port of its own of each of N hosts
  exporters PORT...                 answer scrapes on the ports, and keep connections
  tracker PORT FILE PEER...         make a torrent, and name these ADDR:PORT to who asks for its peers
  swarm PEER...                     accept BitTorrent handshakes at these ADDR:PORT
  paced FILE SECONDS...             SYNs to port 1000, 1001, ... at these exact times
  relink FILE null|loop OUT         a raw IP capture with BSD loopback headers
"""
import concurrent.futures
import ctypes
import fcntl
import http.server
import os
import select
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

SCANNER, TARGET = "198.51.100.7", "192.0.2.10"
MAC = bytes.fromhex("020000000010") + bytes.fromhex("020000000001")


def ready():
    print("ready", flush=True)


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def syn(source, target, port, ident):
    src, dst = socket.inet_aton(source), socket.inet_aton(target)
    tcp = struct.pack("!HHIIBBHHH", 40000 + ident % 20000, port, ident, 0, 5 << 4, 2, 1024, 0, 0)
    pseudo = src + dst + struct.pack("!BBH", 0, 6, len(tcp))
    tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, ident & 0xFFFF, 0, 64, 6, 0, src, dst)
    return ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + tcp


# -- servers -----------------------------------------------------------------------------------------------------


def listen(port, family=socket.AF_INET6):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("", port))
    s.listen(512)
    return s


PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"


def answer(conn, context):
    try:
        conn.settimeout(5)
        if context:
            conn = context.wrap_socket(conn, server_side=True)
        if conn.recv(4096):
            conn.sendall(PAGE)
    except OSError:
        pass
    finally:
        conn.close()


def serve(ports):
    cert = os.environ.get("CERTIFICATE")
    listeners = {}
    for port in ports:
        context = None
        if port == 443 and cert:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert)
        listeners[listen(port)] = context
    ready()
    while True:
        for s in select.select(list(listeners), [], [])[0]:
            conn, _ = s.accept()
            threading.Thread(target=answer, args=(conn, listeners[s]), daemon=True).start()


def serve_closing(port):
    s = listen(port)
    ready()
    while True:
        s.accept()[0].close()


def drip(port):
    def answer_slowly(conn):
        try:
            conn.recv(4096)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
            while True:
                conn.sendall(b"ok\n")
                time.sleep(0.2)
        except OSError:
            conn.close()

    s = listen(port)
    ready()
    while True:
        threading.Thread(target=answer_slowly, args=(s.accept()[0],), daemon=True).start()


def ftp_server(address, directory):
    """One client at a time: USER PASS SYST PWD TYPE CWD SIZE MDTM EPSV PASV LIST RETR QUIT."""
    control = listen(21)
    ready()
    while True:
        conn, _ = control.accept()
        say = lambda line: conn.sendall(line.encode() + b"\r\n")
        lines, passive = conn.makefile("rb"), None
        say("220 ready")
        for raw in lines:
            verb, _, argument = raw.decode().strip().partition(" ")
            verb = verb.upper()
            path = os.path.join(directory, os.path.basename(argument))
            if verb in ("EPSV", "PASV"):
                passive = socket.create_server((address, 0))
                port = passive.getsockname()[1]
                if verb == "EPSV":
                    say(f"229 Entering extended passive mode (|||{port}|)")
                else:
                    say(f"227 Entering passive mode ({address.replace('.', ',')},{port >> 8},{port & 255})")
            elif verb in ("LIST", "RETR") and passive:
                data, _ = passive.accept()
                say("150 here it comes")
                body = "\r\n".join(sorted(os.listdir(directory))) if verb == "LIST" else open(path).read()
                data.sendall(body.encode())
                data.close()
                passive.close()
                say("226 done")
            elif verb == "SIZE":
                say(f"213 {os.path.getsize(path)}")
            elif verb == "QUIT":
                say("221 bye")
                break
            else:
                say({"USER": "331 password", "PASS": "230 welcome", "PWD": '257 "/"', "SYST": "215 UNIX Type: L8",
                     "TYPE": "200 ok", "CWD": "250 ok"}.get(verb, "502 no"))
        conn.close()


def exporters(ports):
    class Page(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = b"an_exporter_is_up 1\n"
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    for port in ports:
        server = http.server.ThreadingHTTPServer(("", port), Page)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    ready()
    threading.Event().wait()


def bencode(value):
    match value:
        case int():
            return b"i%de" % value
        case bytes():
            return b"%d:%s" % (len(value), value)
        case dict():
            return b"d" + b"".join(bencode(k) + bencode(v) for k, v in sorted(value.items())) + b"e"


def tracker(port, path, peers):
    listed = b"".join(socket.inet_aton(address) + struct.pack("!H", number) for address, number in peers)
    answer = bencode({b"interval": 1800, b"peers": listed})

    class Announce(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("", port), Announce)
    pieces = {b"length": 1 << 20, b"name": b"file", b"piece length": 1 << 18, b"pieces": bytes(20 * 4)}
    announce = b"http://%s:%d/announce" % (os.environ["TRACKER"].encode(), port)
    with open(path, "wb") as f:
        f.write(bencode({b"announce": announce, b"info": pieces}))
    ready()
    server.serve_forever()


def swarm(peers):
    """Each answers the handshake with its own, and has nothing to give."""

    def greet(conn):
        hello = conn.recv(68)
        conn.sendall(hello[:48] + os.urandom(20))
        while conn.recv(4096):
            pass

    def accept(listener):
        while True:
            threading.Thread(target=greet, args=(listener.accept()[0],), daemon=True).start()

    for peer in peers:
        threading.Thread(target=accept, args=(socket.create_server(peer),), daemon=True).start()
    ready()
    threading.Event().wait()


def peer(text):
    address, _, port = text.rpartition(":")
    return address, int(port)


# -- clients -----------------------------------------------------------------------------------------------------


def connect(address, port, count):
    for _ in range(count):
        socket.create_connection((address, port), 5).close()


def refused(address, port, count):
    for _ in range(count):
        try:
            socket.create_connection((address, port), 5).close()
        except ConnectionRefusedError:
            pass


def abort(address, port, count):
    for _ in range(count):
        s = socket.create_connection((address, port), 5)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()


def load(address, port, count, parallel):
    def request(_):
        with socket.create_connection((address, port), 5) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: target\r\nConnection: close\r\n\r\n")
            while s.recv(4096):
                pass

    with concurrent.futures.ThreadPoolExecutor(parallel) as pool:
        list(pool.map(request, range(count)))


def big_datagrams(address, count):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for i in range(count):
        # The payload of the later fragments looks like a TCP header with SYN set, to ports that change.
        s.sendto(struct.pack("!HHIIBBHHH", 40000, 1 + i, 1, 0, 5 << 4, 2, 1024, 0, 0) * 200, (address, 9000 + i % 3))
        time.sleep(0.02)


def tun(ends):
    libc, fds = ctypes.CDLL(None, use_errno=True), []
    for netns, device, address in ends:
        with open(f"/run/netns/{netns}") as ns:
            if libc.setns(ns.fileno(), 0):
                raise OSError(ctypes.get_errno(), "setns")
        fd = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", device.encode(), 0x1001))  # TUNSETIFF, IFF_TUN | IFF_NO_PI
        fds.append(fd)
        os.system(f"ip link set {device} up && ip addr add {address} dev {device}")
    ready()
    while True:
        for fd in select.select(fds, [], [])[0]:
            os.write(fds[1 - fds.index(fd)], os.read(fd, 65535))


def zombie(device, address):
    """A host behind this device that numbers its packets one after the other, and refuses whatever comes: an idle scan counts them."""
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", device.encode(), 0x1001))  # TUNSETIFF, IFF_TUN | IFF_NO_PI
    for words in (["addr", "add", address], ["link", "set", "up"]):
        subprocess.run(["ip", *words, "dev", device], check=True)
    ready()
    ident = 0
    while True:
        packet = os.read(fd, 2000)
        if packet[0] != 0x45 or packet[9] != 6:
            continue
        source, target, (from_port, to_port, _, number, _, flags) = packet[12:16], packet[16:20], struct.unpack("!HHIIBB", packet[20:34])
        if flags & 4:
            continue
        ident += 1
        tcp = struct.pack("!HHIIBBHHH", to_port, from_port, number, 0, 5 << 4, 4, 0, 0, 0)
        tcp = tcp[:16] + struct.pack("!H", checksum(target + source + struct.pack("!BBH", 0, 6, 20) + tcp)) + tcp[18:]
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, ident & 0xFFFF, 0, 64, 6, 0, target, source)
        os.write(fd, ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + tcp)


def udp(port=0):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.bind(("", port))
    s.settimeout(2)
    return s


def echo(ports):
    sockets = [udp(port) for port in ports]
    ready()
    while True:
        for s in select.select(sockets, [], [])[0]:
            data, who = s.recvfrom(2000)
            s.sendto(data, who)


def ask(address, count, ports):
    for _ in range(count):
        for port in ports:
            with udp() as s:
                s.sendto(bytes(32), (address, port))
                s.recv(100)


def announce(address, count):
    for n in range(count):
        for group, port in (("224.0.0.251", 5353), ("239.255.255.250", 1900), ("224.0.0.252", 5355), ("224.0.1.60", 20000 + n)):
            with udp() as s:
                s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
                s.sendto(bytes(32), (group, port))


def broadcast(address, count):
    for _ in range(count):
        for port in (123, 137, 138, 67):
            with udp() as s:
                s.sendto(bytes(32), (address, port))


def rounds(address, pause, count, ports):
    for n in range(count):
        for port in ports:
            with socket.socket() as s:
                s.settimeout(5)
                s.connect_ex((address, port))
        if n + 1 < count:
            time.sleep(pause)


def spread(address, seconds, ports):
    """As Prometheus does at its start: each target has its own place within the interval, and keeps its connection."""
    kept = []
    for port in ports:
        kept.append(socket.create_connection((address, port), 5))
        time.sleep(seconds / len(ports))


def patient(address, seconds, ports):
    sockets = [socket.socket() for _ in ports]
    for s, port in zip(sockets, ports):
        s.setblocking(False)
        s.connect_ex((address, port))
    time.sleep(seconds)


def peers(prefix, count):
    for n in range(count):
        with socket.socket() as s:
            s.setblocking(False)
            s.connect_ex((f"{prefix}.{100 + n}", 20000 + 997 * n))
        time.sleep(0.1)


# -- files -------------------------------------------------------------------------------------------------------


def paced(path, times):
    start = 1_700_000_000
    with open(path, "wb") as f:
        f.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for i, t in enumerate(times):
            micros = round(t * 1_000_000)
            frame = MAC + struct.pack("!H", 0x800) + syn(SCANNER, TARGET, 1000 + i, i)
            f.write(struct.pack("<IIII", start + micros // 1_000_000, micros % 1_000_000, len(frame), len(frame)) + frame)


def relink(path, kind, out):
    link, order = {"null": (0, "<I"), "loop": (108, ">I")}[kind]
    data = open(path, "rb").read()
    assert data[:4] == b"\xd4\xc3\xb2\xa1" and struct.unpack("<I", data[20:24])[0] in (12, 101), "a raw IP pcap"
    with open(out, "wb") as f:
        f.write(data[:20] + struct.pack("<I", link))
        at = 24
        while at < len(data):
            sec, sub, held, length = struct.unpack("<IIII", data[at : at + 16])
            packet = data[at + 16 : at + 16 + held]
            family = 2 if packet[0] >> 4 == 4 else 30
            f.write(struct.pack("<IIII", sec, sub, held + 4, length + 4) + struct.pack(order, family) + packet)
            at += 16 + held


def main():
    what, *a = sys.argv[1:] or ["help"]
    match what:
        case "serve":
            serve([int(p) for p in a])
        case "serve-closing":
            serve_closing(int(a[0]))
        case "drip":
            drip(int(a[0]))
        case "ftp-server":
            ftp_server(*a)
        case "connect" | "refused" | "abort":
            globals()[what](a[0], int(a[1]), int(a[2]))
        case "load":
            load(a[0], int(a[1]), int(a[2]), int(a[3]))
        case "big-datagrams":
            big_datagrams(a[0], int(a[1]))
        case "tun":
            tun([a[:3], a[3:]])
        case "paced":
            paced(a[0], [float(t) for t in a[1:]])
        case "relink":
            relink(*a)
        case "zombie":
            zombie(*a)
        case "exporters":
            exporters([int(p) for p in a])
        case "tracker":
            tracker(int(a[0]), a[1], [peer(p) for p in a[2:]])
        case "swarm":
            swarm([peer(p) for p in a])
        case "echo":
            echo([int(p) for p in a])
        case "ask":
            ask(a[0], int(a[1]), [int(p) for p in a[2:]])
        case "announce" | "broadcast" | "peers":
            globals()[what](a[0], int(a[1]))
        case "rounds":
            rounds(a[0], float(a[1]), int(a[2]), [int(p) for p in a[3:]])
        case "spread" | "patient":
            globals()[what](a[0], float(a[1]), [int(p) for p in a[2:]])
        case _:
            sys.exit(__doc__)


main()
