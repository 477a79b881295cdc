#!/usr/bin/env python3
"""Builds and runs every test binary, as `cargo test` does, but several at a time: most of the time of most of them is spent waiting.

Those that wait (for a scan to be over, for a message to come) run side by side. The others, which compute, and the linter, which computes
most, run one after another beside them, with a lower priority, so that they take only what the first leave; two at a time when no more of
those wait for their turn. What each said is in target/tests; what a failed one said is printed whole.

usage: tests/run.py [CARGO]
"""

import json
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# What takes longest comes first, of both kinds. A new one that is named nowhere here computes.
LONG = ["lint", "attack", "laws", "alerts", "kubernetes", "rules_attack", "benign", "lib"]
WAITING = ["faults", "scanners", "monitoring", "web", "systemd", "live", "shards", "capture_live", "journal"]
LANES = 4  # of those that wait
OUTPUT = Path("target/tests")


def build(cargo):
    """Name and command of every test binary."""
    words = [cargo, "test", "--locked", "--no-run", "--message-format=json-render-diagnostics"]
    built = subprocess.run(words, stdout=subprocess.PIPE, text=True)
    if built.returncode:
        sys.exit(built.returncode)
    jobs = {"doc": [cargo, "test", "--quiet", "--locked", "--doc"], "lint": ["make", "--silent", "lint", f"CARGO={cargo}"]}
    for message in map(json.loads, built.stdout.splitlines()):
        if message["reason"] == "compiler-artifact" and message["profile"]["test"] and message["executable"]:
            kind = message["target"]["kind"][0]
            jobs[message["target"]["name"] if kind == "test" else kind] = [message["executable"]]
    missing = [name for name in WAITING if name not in jobs]
    if missing:
        sys.exit(f"tests/run.py: no test binary is called {missing}")
    return jobs


class Tests:
    def __init__(self, jobs):
        self.jobs = jobs
        self.failed = {}
        self.lock = threading.Lock()
        others = [name for name in jobs if name not in WAITING]
        place = {name: place for place, name in enumerate(LONG)}
        self.queues = {True: list(WAITING), False: sorted(others, key=lambda name: (place.get(name, len(place)), name))}

    def lane(self, waits):
        """Runs the tests of one kind until none is left."""
        while True:
            with self.lock:
                if not self.queues[waits]:
                    return
                name = self.queues[waits].pop(0)
            self.run(name, waits)

    def run(self, name, waits):
        start = time.monotonic()
        environment = dict(os.environ)
        if name not in ("doc", "lint"):  # where Cargo would set it itself, and where ring's build script would see a change and build anew
            environment["CARGO_MANIFEST_DIR"] = os.getcwd()
        if waits:
            environment.setdefault("RUST_TEST_THREADS", str(2 * os.cpu_count()))
        command = self.jobs[name] if waits else ["nice", "-n", "5", *self.jobs[name]]
        log = OUTPUT / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
            )
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = status  # it was waited for
        said = log.read_text(errors="replace")
        counts = re.findall(r"^test result: \w+\. (\d+ passed; \d+ failed; \d+ ignored)", said, re.MULTILINE)
        with self.lock:
            word = "FAILED" if status else "ok"
            took, cpu = time.monotonic() - start, used.ru_utime + used.ru_stime
            print(f"{word:6} {name:14} {took:6.1f} s  {cpu:6.1f} s of CPU  {', '.join(counts)}", flush=True)
            if status:
                self.failed[name] = said


def main():
    os.chdir(Path(__file__).parent.parent)
    jobs = build(sys.argv[1] if len(sys.argv) > 1 else "cargo")
    OUTPUT.mkdir(parents=True, exist_ok=True)
    tests = Tests(jobs)
    # The kinds that each lane runs, one kind after the other.
    lanes = [[False], [True, False]] + [[True]] * (LANES - 1)
    with ThreadPoolExecutor(len(lanes)) as pool:
        for lane in [pool.submit(lambda kinds: [tests.lane(kind) for kind in kinds], kinds) for kinds in lanes]:
            lane.result()
    for name, said in tests.failed.items():
        print(f"\n---- {name} ----\n{said}")
    if tests.failed:
        sys.exit(f"failed: {', '.join(tests.failed)}")
    print(f"all {len(jobs)} passed")


if __name__ == "__main__":
    main()
