#!/usr/bin/env python3
"""make demo: a real scan, seen by the exporter, Prometheus and Alertmanager, on this machine and nowhere else.

The exporter and nmap run in two network namespaces of their own, with a cable between them; no packet leaves them. The pages
are on the loopback address of this machine. Needs no root where users may make namespaces. Nothing is left behind.

usage: demo.py EXPORTER [--once]     (--once: end when everything was shown, do not wait for Ctrl-C)
"""
import email, email.policy, json, os, shutil, signal, socket, socketserver, subprocess, sys, tempfile, threading, time
import urllib.parse, urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
# The scanner's and the watched host's address: documentation ranges.
SCANNER, WATCHED = "198.51.100.7", "198.51.100.10"
PATIENCE = 45
started, programs, mails = [], [], []


def fail(message):
    sys.exit(f"demo: {message}")


def say(title, text=""):
    print(f"\n\033[1m{title}\033[0m" if sys.stdout.isatty() else f"\n{title}", text, sep="\n" if text else "", flush=True)


def program(*names):
    """The first of these programs that is installed: Debian calls some by another name than their makers do."""
    for name in names:
        found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
        if found:
            return found
    fail(f"needs {names[0]} (Debian: apt install prometheus prometheus-alertmanager nmap iproute2 util-linux)")


def listening(port):
    """A socket on the loopback address: this port, or any other if it is taken."""
    for wanted in (port, 0):
        try:
            server = socket.create_server(("127.0.0.1", wanted))
            return server, server.getsockname()[1]
        except OSError:
            continue
    fail("cannot listen on 127.0.0.1")


def free(port):
    server, port = listening(port)
    server.close()
    return port


def start(words, log, **options):
    child = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, **options)
    started.append(child)
    return child


def wait(what, ask):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            answer = ask()
            if answer:
                return answer
        except OSError:
            pass
        if any(child.poll() is not None for child in started):
            break
        time.sleep(0.1)
    logs = "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1500:]}" for log in Path.cwd().glob("*.log"))
    fail(f"waited in vain for {what}\n{logs}")


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


class Mailbox(socketserver.StreamRequestHandler):
    """Takes the mail of Alertmanager, so that it can be shown."""

    def handle(self):
        try:
            self.take()
        except OSError:
            pass  # Alertmanager hung up, or the demo ends

    def take(self):
        self.wfile.write(b"220 demo\r\n")
        for line in self.rfile:
            word = line[:4].upper()
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                # A line that begins with a dot comes with one more (RFC 5321, section 4.5.2).
                lines = (line.removeprefix(b".") for line in iter(self.rfile.readline, b".\r\n"))
                mails.append(email.message_from_bytes(b"".join(lines), policy=email.policy.default))
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 fine\r\n")
            if word == b"QUIT":
                return


def namespaces():
    """Two namespaces with a cable between them; gives what runs a command in the watched one, and in the scanner's."""
    unshare = [program("unshare"), "--net"] if os.geteuid() == 0 else [program("unshare"), "--user", "--map-root-user", "--net"]
    # A namespace is there as long as this program, and that as long as the demo holds the other end of its input, however it ends.
    room = "ip link set lo up && echo here && exec cat >/dev/null"
    held = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "start_new_session": True}
    watched = subprocess.Popen(unshare + ["sh", "-c", room], stderr=subprocess.PIPE, **held)
    started.append(watched)
    if watched.stdout.readline() != b"here\n":
        root = f"as root: sudo python3 {' '.join(sys.argv)}"
        fail(f"cannot make a network namespace ({root}): " + watched.stderr.read().decode().strip())
    enter = [program("nsenter"), "--net"] + ([] if os.geteuid() == 0 else ["--user", "--preserve-credentials"])
    inside = [*enter, "-t", str(watched.pid)]
    scanner = subprocess.Popen([*inside, "unshare", "--net", "sh", "-c", room], **held)
    started.append(scanner)
    scanner.stdout.readline()
    outside = [*enter, "-t", str(scanner.pid)]
    subprocess.run([*inside, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(scanner.pid)], check=True)
    for room, address in ((inside, WATCHED), (outside, SCANNER)):
        subprocess.run([*room, "ip", "addr", "add", f"{address}/24", "dev", "eth0"], check=True)
        subprocess.run([*room, "ip", "link", "set", "eth0", "up"], check=True)
    return inside, outside


def configure(ports):
    """The files of the project, with the ports of the demo, and impatient: seconds instead of half a minute."""
    rules = (HERE / "alerts/portscan.rules.yml").read_text()
    # Nothing is installed here: the links of the alerts lead into these sources.
    rules = rules.replace("file:///usr/share/doc/portscan_exporter/runbooks", (HERE / "alerts/runbooks").as_uri())
    Path("portscan.rules.yml").write_text(rules)
    routes = (HERE / "deploy/alertmanager/alertmanager.yml").read_text().replace("group_wait: 35s", "group_wait: 2s")
    routes = routes.replace("localhost:25", f"127.0.0.1:{ports['mail']}").replace("127.0.0.1:9099", f"127.0.0.1:{ports['mail']}")
    Path("alertmanager.yml").write_text(routes)
    shutil.copy(HERE / "deploy/alertmanager/portscan.tmpl", ".")
    prometheus = (HERE / "deploy/prometheus.yml").read_text().replace(": 15s", ": 1s")
    prometheus = prometheus.replace("/etc/prometheus/portscan/*.yml", "portscan.rules.yml")
    for name, port in (("10220", ports["exporter"]), ("9093", ports["alertmanager"])):
        prometheus = prometheus.replace(f"127.0.0.1:{name}", f"127.0.0.1:{port}")
    Path("prometheus.yml").write_text(prometheus)


def run(exporter):
    prometheus, alertmanager, nmap = program("prometheus"), program("prometheus-alertmanager", "alertmanager"), program("nmap")
    program("ip")
    say("portscan_exporter watches the network of a host and reports every address that scans its ports.",
        "Starting it in a network of its own, with Prometheus and Alertmanager: a few seconds …")
    page, exporter_port = listening(10220)
    mailbox = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mailbox)
    threading.Thread(target=mailbox.serve_forever, daemon=True).start()
    ports = {"exporter": exporter_port, "prometheus": free(9090), "alertmanager": free(9093), "mail": mailbox.server_address[1]}
    configure(ports)
    url = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    inside, outside = namespaces()
    # It captures in the namespace and answers outside: it is given a socket that listens here, as systemd would do it.
    os.set_inheritable(page.fileno(), True)
    as_systemd = f"exec 3<&{page.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" -i eth0 --web.systemd-socket --log.format=logfmt"
    start([*inside, "sh", "-c", as_systemd, exporter], open("exporter.log", "w"), pass_fds=[page.fileno()])
    start([alertmanager, "--config.file=alertmanager.yml", "--storage.path=alerts", "--cluster.listen-address=",
           f"--web.listen-address=127.0.0.1:{ports['alertmanager']}", "--log.level=warn"], open("alertmanager.log", "w"))
    start([prometheus, "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn",
           f"--web.listen-address=127.0.0.1:{ports['prometheus']}"], open("prometheus.log", "w"))
    wait("the exporter", lambda: get(url["exporter"] + "/-/ready"))
    wait("Alertmanager", lambda: get(url["alertmanager"] + "/-/ready"))
    query = url["prometheus"] + "/api/v1/query?query="
    wait("Prometheus to scrape the exporter", lambda: json.loads(get(query + "portscan_capture_up"))["data"]["result"])

    say(f"A host at {SCANNER} scans this one, {WATCHED}:", f"$ nmap -sS -p1-1000 {WATCHED}")
    subprocess.run([*outside, nmap, "-n", "-Pn", "-sS", "-T4", "--min-rate=2000", "-p1-1000", WATCHED], check=True, stdout=subprocess.DEVNULL)
    log = Path("exporter.log")
    record = wait("the record", lambda: [line for line in log.read_text().splitlines() if "portscan hit" in line])
    say("At the twentieth port it writes a record (with systemd: journalctl -u portscan_exporter PORTSCAN_SOURCE=" + SCANNER + "):", record[0])
    lines = wait("the metric", lambda: [line for line in get(url["exporter"] + "/metrics").splitlines()
                 if line.startswith(("portscan_source_peak_distinct_ports{", "portscan_hits_total{")) and not line.endswith(" 0")])
    say("It shows the scan to Prometheus: curl -s " + url["exporter"] + "/metrics | grep -E '^portscan_(hits_total|source_peak_distinct_ports).* [1-9]'", "\n".join(lines))
    mail = wait("the notification", lambda: mails)[0]
    say("Prometheus fires an alert, and Alertmanager sends one message:", f"Subject: {mail['Subject']}\n\n{mail.get_body().get_content().strip()}")
    alerts = urllib.parse.quote('ALERTS{alertname="PortScanDetected"}')
    say("See for yourself:", f"exporter      {url['exporter']}/\nPrometheus    {url['prometheus']}/graph?g0.expr={alerts}\n"
        f"Alertmanager  {url['alertmanager']}/api/v2/alerts")


def main():
    words = [word for word in sys.argv[1:] if word != "--once"]
    if len(words) != 1 or not os.access(words[0], os.X_OK):
        fail("usage: demo.py EXPORTER [--once]")
    exporter = os.path.abspath(words[0])
    # What ends it must pass through `finally`.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # A script that starts it in the background makes it ignore SIGINT, and it would never end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="portscan-demo.") as directory:
        os.chdir(directory)
        try:
            run(exporter)
            if "--once" not in sys.argv:
                say("Everything stays up until Ctrl-C.")
                signal.pause()
        except KeyboardInterrupt:
            pass
        finally:
            for child in reversed(started):
                child.terminate()
            for child in reversed(started):
                try:
                    child.wait(5)
                except subprocess.TimeoutExpired:
                    child.kill()
            os.chdir("/")


main()
