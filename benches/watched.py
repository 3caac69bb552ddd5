#!/usr/bin/env python3
"""What watching costs the calls: the same run with and without scrapers and listers.

For: the promise that 32 clients who scrape /metrics and list 100,000 dialogs without a pause add no
loss to a run of 2,000 calls a second, and no more than 10 % to its p99 of set-up delay. Alternating
pairs on one proxy; the dialogs that are listed stay up beside the calls that are measured.
Not here: what a scrape holds (`tests/control.rs`).
Needs: `cargo build --release -p strowger -p strowger-load`; cores for proxy, generator and clients.

    benches/watched.py [--dialogs 100000] [--rate 2000] [--seconds 60] [--pairs 3] [--clients 32]
                       [--shards N] [--binaries target/release]

Ends with 1 when a watched run lost more calls than its twin or its p99 is more than 10 % longer, with
3 when the generator says that a run is not to be trusted. Results go to benches/record by hand.
"""

import argparse
import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CONFIGURATION = """[node]
listen = ["udp:127.0.0.1:0"]
{shards}
[control]
listen = "127.0.0.1:0"
[routing]
dialog = true
"""
# How fast the dialogs that are listed begin: not what is measured.
FILL_RATE = 1000


class Proxy:
    """The proxy, its addresses read from what it says."""

    def __init__(self, binaries, folder, shards):
        path = os.path.join(folder, "strowger.toml")
        with open(path, "w") as file:
            file.write(CONFIGURATION.format(shards=f"shards = {shards}" if shards else ""))
        self.process = subprocess.Popen(
            [os.path.join(binaries, "strowger"), "-f", path], stdout=subprocess.PIPE, text=True
        )
        said = ""
        while "ready, shards" not in said:
            line = self.process.stdout.readline()
            if not line:
                sys.exit("the proxy did not start")
            said += line
        self.sip = re.search(r"listening on udp:(\S+)", said).group(1)
        self.control = re.search(r"control plane on http://(\S+)", said).group(1)
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def rpc(self, method, params=()):
        connection = http.client.HTTPConnection(self.control, timeout=30)
        call = {"jsonrpc": "2.0", "method": method, "params": list(params), "id": 1}
        connection.request("POST", "/rpc", json.dumps(call))
        return json.load(connection.getresponse())["result"]

    def dialogs(self):
        return self.rpc("core.live")["dialogs"]["active"]


def free_port():
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def calls(options, proxy, rate, seconds, hold, more):
    """The generator's command for calls through the proxy to a callee of its own."""
    port = free_port()
    return [
        os.path.join(options.binaries, "strowger-load"), "call", "--quiet",
        "--target", proxy.sip, "--answer", f"127.0.0.1:{port}",
        "--to", f"sip:service@127.0.0.1:{port}",
        "--rate", str(rate), "--duration", f"{seconds}s", "--hold", hold, *more,
    ]


class Watchers:
    """Clients that scrape and list, one after the other, until they are told to stop."""

    def __init__(self, control, count):
        self.control, self.over = control, threading.Event()
        self.scrapes = self.lists = self.failures = 0
        self.lock = threading.Lock()
        kinds = [self.scrape, self.list]
        self.threads = [
            threading.Thread(target=kinds[n % 2], daemon=True) for n in range(count)
        ]
        for thread in self.threads:
            thread.start()

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.control, timeout=60)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            body = answer.read()
            return body if answer.status == 200 else None
        except OSError:
            return None
        finally:
            connection.close()

    def count(self, name, answer):
        with self.lock:
            name = name if answer is not None else "failures"
            setattr(self, name, getattr(self, name) + 1)

    def scrape(self):
        while not self.over.is_set():
            self.count("scrapes", self.ask("GET", "/metrics"))

    def list(self):
        following = ""
        while not self.over.is_set():
            params = {"limit": 1000, "next": following}
            call = {"jsonrpc": "2.0", "method": "dlg.list", "params": params, "id": 1}
            answer = self.ask("POST", "/rpc", json.dumps(call))
            self.count("lists", answer)
            following = json.loads(answer)["result"].get("next", "") if answer else ""

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


def measured(options, proxy, is_watched, folder):
    """One run: calls lost, and p99 of the set-up in milliseconds."""
    path = os.path.join(folder, "run.json")
    watchers = Watchers(proxy.control, options.clients) if is_watched else None
    command = calls(options, proxy, options.rate, options.seconds, "5s", ["--json", path])
    ended = subprocess.run(command, stdout=subprocess.DEVNULL)
    if watchers:
        watchers.stop()
    with open(path) as file:
        report = json.load(file)
    timing = next(timing for timing in report["timings"] if timing["name"] == "setup")
    found = {
        "watched": is_watched, "begun": report["calls"]["begun"],
        "lost": report["calls"]["failed"], "p50": timing["p50"], "p99": timing["p99"],
        "trusted": ended.returncode != 3,
        "scrapes": watchers.scrapes if watchers else 0, "pages": watchers.lists if watchers else 0,
        "refusals": watchers.failures if watchers else 0,
    }
    print(json.dumps(found), flush=True)
    return found


def read_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dialogs", type=int, default=100_000)
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--shards", type=int)
    parser.add_argument("--binaries", default=os.path.join(ROOT, "target", "release"))
    return parser.parse_args()


def fill(options, proxy):
    """Dialogs that stay up; the process that holds them."""
    seconds = max(1, -(-options.dialogs // FILL_RATE))
    rate = -(-options.dialogs // seconds)
    more = ["--calls", str(options.dialogs), "--calls-at-once", str(options.dialogs + 1000)]
    holder = subprocess.Popen(
        calls(options, proxy, rate, seconds, "24h", more), stdout=subprocess.DEVNULL
    )
    end = time.monotonic() + 10 * seconds + 60
    while proxy.dialogs() < options.dialogs:
        if time.monotonic() > end or holder.poll() is not None:
            sys.exit(f"only {proxy.dialogs()} dialogs came up")
        time.sleep(1)
    return holder


def main():
    options = read_options()
    with tempfile.TemporaryDirectory() as folder:
        proxy, holder = Proxy(options.binaries, folder, options.shards), None
        try:
            holder = fill(options, proxy)
            print(f"{proxy.dialogs()} dialogs are up", flush=True)
            runs = []
            for pair in range(options.pairs):
                order = (False, True) if pair % 2 == 0 else (True, False)
                runs += [measured(options, proxy, watched, folder) for watched in order]
        finally:
            if holder:
                holder.kill()
            proxy.process.send_signal(signal.SIGKILL)
    plain, watched = ([run for run in runs if run["watched"] is kind] for kind in (False, True))
    p99 = [statistics.median(run["p99"] for run in kind) for kind in (plain, watched)]
    lost = [sum(run["lost"] for run in kind) for kind in (plain, watched)]
    print(f"lost: {lost[0]} without, {lost[1]} with; p99: {p99[0]:.2f} ms without, {p99[1]:.2f} ms with")
    if not all(run["trusted"] for run in runs):
        sys.exit(3)
    if lost[1] > lost[0] or p99[1] > 1.1 * p99[0]:
        sys.exit(1)


if __name__ == "__main__":
    main()
