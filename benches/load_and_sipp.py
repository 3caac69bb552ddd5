#!/usr/bin/env python3
"""The load generator beside SIPp: what a call costs each of them, both ends, no proxy between.

For: the promise that strowger-load spends at most 1/5 of SIPp's CPU seconds per call and at most
1/10 of its user-space instructions. Alternating pairs in one run, medians with their spread;
instructions are the difference of two runs under callgrind, so that starting costs nothing.
Not here: proxies (`benches/versus`).
Needs: sipp (Debian's sip-tester), valgrind, `cargo build --release -p strowger-load`.

    benches/load_and_sipp.py [--pairs 7] [--rate 2000] [--seconds 10] [--csv FILE]

SIPp begins its calls in bursts of 10 ms, its timer's default; so does the generator here
(`--tick 10ms`), beside its own default of 1 ms. Results go to benches/record by hand, with the
machine.
"""

import argparse
import json
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Under callgrind SIPp keeps up with so many calls a second only; waiting costs it next to nothing.
CALLGRIND_RATES = {"sipp": 150, "load": 1000}
CALLGRIND_CALLS = {"sipp": (500, 2500), "load": (6000, 18000)}
ATTEMPTS = 5


def free_port():
    """A UDP port of 127.0.0.1 that nobody uses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port):
    """Until somebody listens on a UDP port."""
    wanted = f":{port:04X} "
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with open("/proc/net/udp") as table:
            if wanted in table.read():
                return
        time.sleep(0.02)
    sys.exit(f"nobody listens on {port}")


def cpu_of(commands_of):
    """Runs commands side by side to their ends; the processor time of all of them.

    A run in which a call failed says nothing about what a call costs: it is made again.
    """
    for _ in range(ATTEMPTS):
        spent = attempt(commands_of())
        if spent is not None:
            return spent
        print("a call failed: that run does not count")
    sys.exit(f"{ATTEMPTS} runs in a row had failed calls")


def attempt(commands):
    """One run; None when a call failed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    running = []
    with open(os.devnull, "w") as nothing, tempfile.TemporaryDirectory() as folder:
        for command, port in commands:
            running.append(subprocess.Popen(command, stdout=nothing, stderr=nothing, cwd=folder))
            if port:
                wait_for_port(port)
        codes = [process.wait(timeout=600) for process in running]
        if any(code not in (0, 1) for code in codes):
            sys.exit(f"ended with {codes}: {[process.args for process in running]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if any(codes):
        return None
    return (after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime)


def sipp(calls, rate, prefix=((), ())):
    """SIPp's callee and caller with its own scenarios."""
    callee, caller = free_port(), free_port()
    common = ["-i", "127.0.0.1", "-nostdin", "-m", str(calls)]
    uas = [*prefix[0], "sipp", "-sn", "uas", "-p", str(callee), *common]
    uac = [*prefix[1], "sipp", f"127.0.0.1:{callee}", "-sn", "uac", "-p", str(caller)]
    return [(uas, callee), ([*uac, "-r", str(rate), *common], None)]


def load(binary, calls, rate, options, prefix=()):
    """The generator's two ends in one process."""
    address = f"127.0.0.1:{free_port()}"
    return [([*prefix, binary, "call", "--target", address, "--answer", address, "--quiet",
              "--rate", str(rate), "--calls", str(calls), "--duration", "600s",
              "--late-max", "100%", *options], None)]


def instructions(which, commands_of):
    """User-space instructions per call: the difference of two runs."""
    sums = []
    for calls in CALLGRIND_CALLS[which]:
        with tempfile.TemporaryDirectory() as folder:
            names = [os.path.join(folder, f"{part}") for part in range(2)]
            prefixes = [["valgrind", "--tool=callgrind", f"--callgrind-out-file={name}"]
                        for name in names]
            cpu_of(lambda: commands_of(calls, prefixes))
            total = 0
            for name in names:
                if os.path.exists(name):
                    with open(name) as file:
                        total += int(re.search(r"^totals: (\d+)", file.read(), re.M).group(1))
            sums.append(total)
    fewer, more = CALLGRIND_CALLS[which]
    return (sums[1] - sums[0]) / (more - fewer)


def machine():
    """What the figures depend on."""
    with open("/proc/cpuinfo") as file:
        model = re.search(r"model name\s*: (.*)", file.read())
    return {"cpu": model.group(1) if model else "unknown", "cores": os.cpu_count(),
            "kernel": os.uname().release}


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--pairs", type=int, default=7)
    arguments.add_argument("--rate", type=int, default=2000)
    arguments.add_argument("--seconds", type=int, default=10)
    arguments.add_argument("--binary", default=os.path.join(ROOT, "target/release/strowger-load"))
    arguments.add_argument("--csv")
    arguments.add_argument("--no-instructions", action="store_true")
    chosen = arguments.parse_args()
    calls = chosen.rate * chosen.seconds
    ways = {
        "sipp": lambda: sipp(calls, chosen.rate),
        "offload, 10 ms": lambda: load(chosen.binary, calls, chosen.rate,
                                       ["--tick", "10ms", "--offload"]),
        "10 ms": lambda: load(chosen.binary, calls, chosen.rate, ["--tick", "10ms"]),
        "default, 1 ms": lambda: load(chosen.binary, calls, chosen.rate, []),
    }
    print(json.dumps(machine()))
    print(f"{chosen.pairs} rounds of {calls} calls at {chosen.rate}/s")
    found = {name: [] for name in ways}
    rows = ["round,way,user_us_per_call,system_us_per_call"]
    for number in range(chosen.pairs):
        for name, commands in ways.items():
            user, system = (seconds * 1e6 / calls for seconds in cpu_of(commands))
            found[name].append(user + system)
            rows.append(f"{number},{name.replace(',', '')},{user:.2f},{system:.2f}")
    base = found["sipp"]
    for name, values in found.items():
        ratios = [value / other for value, other in zip(values, base)]
        print(f"{name:<16}{statistics.median(values):8.1f} us a call "
              f"({min(values):.1f} to {max(values):.1f}), "
              f"{statistics.median(ratios):.3f} of SIPp's "
              f"({min(ratios):.3f} to {max(ratios):.3f})")
    if not chosen.no_instructions:
        theirs = instructions("sipp", lambda calls, prefixes: sipp(
            calls, CALLGRIND_RATES["sipp"], prefixes))
        ours = instructions("load", lambda calls, prefixes: load(
            chosen.binary, calls, CALLGRIND_RATES["load"], ["--tick", "10ms", "--offload"], prefixes[0]))
        print(f"instructions    {ours:8.0f} a call, SIPp {theirs:.0f}, ratio {ours / theirs:.3f}")
        rows.append(f"0,instructions,{ours:.0f},{theirs:.0f}")
    if chosen.csv:
        with open(chosen.csv, "w") as file:
            file.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
