#!/usr/bin/env python3
"""What a call costs the engine, counted: instructions, allocations, bytes copied.

For: noticing a change that makes them worse; counts do not depend on what else the machine does.
The difference of two runs, so that starting and warming up cost nothing.
Not here: time (`relay`), sockets, the load generator (`load_and_sipp.py`).
Needs: valgrind, cargo.

    benches/counts.py            counts, and fails when one is more than 3 % above the record
    benches/counts.py --record   writes the record anew: benches/record/counts.csv

Instructions and allocations are those of the engine alone, its timers included: callgrind collects
while the load hands it a message or lets time pass. Bytes copied are those that library calls
(memcpy, memmove) move in the whole process, the making of the messages included.
"""

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RECORD = os.path.join(ROOT, "benches/record/counts.csv")
KINDS = ["returned", "awaited", "tracked"]
MESSAGES_PER_CALL = 6
# Lingering transactions fill the tables within so many calls, whatever their number.
WARM_UP = 1000
CALLS = (300, 900)
WORSE_MAX = 1.03
ENGINE = ["--toggle-collect=*rig::load::Load*take*", "--toggle-collect=*rig::load::Load*skip*"]
ALLOCATING = re.compile(r"^(malloc|calloc|realloc|memalign|posix_memalign|aligned_alloc)(@.*)?$")


def build():
    """The program under measurement; its path."""
    command = ["cargo", "build", "--release", "--quiet", "-p", "strowger-benches", "--bin", "relay",
               "--message-format=json"]
    lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = [json.loads(line).get("executable") for line in lines.splitlines()]
    return next(path for path in found if path)


def valgrind(arguments, binary, kind, calls):
    """One run under a tool; what it said."""
    command = ["valgrind", *arguments, binary, str(calls), kind, str(WARM_UP)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def engine(binary, kind, calls):
    """Instructions of the engine, and how often it asked for memory."""
    with tempfile.TemporaryDirectory() as folder:
        name = os.path.join(folder, "callgrind.out")
        valgrind(["--tool=callgrind", f"--callgrind-out-file={name}", *ENGINE], binary, kind, calls)
        names, called, allocations, total = {}, None, 0, 0
        with open(name) as file:
            for line in file:
                if match := re.match(r"c?fn=\((\d+)\)(?: (.*))?$", line):
                    if match.group(2):
                        names[match.group(1)] = match.group(2)
                    called = names.get(match.group(1), "")
                elif line.startswith("calls=") and ALLOCATING.match(called):
                    allocations += int(line[6:].split()[0])
                elif line.startswith("totals:"):
                    total = int(line.split()[1])
    return total, allocations


def copied(binary, kind, calls):
    """Bytes that library calls have copied."""
    arguments = ["--tool=dhat", "--mode=copy", "--dhat-out-file=/dev/null"]
    total = re.search(r"Total: +([\d,]+) bytes", valgrind(arguments, binary, kind, calls))
    return int(total.group(1).replace(",", ""))


def count(binary):
    """All counts, by kind and what."""
    counts = {}
    fewer, more = CALLS
    for kind in KINDS:
        few, many = engine(binary, kind, fewer), engine(binary, kind, more)
        messages = (more - fewer) * MESSAGES_PER_CALL
        bytes_copied = copied(binary, kind, more) - copied(binary, kind, fewer)
        counts[kind, "instructions a call"] = round((many[0] - few[0]) / (more - fewer))
        counts[kind, "allocations a message"] = round((many[1] - few[1]) / messages, 4)
        counts[kind, "bytes copied a message"] = round(bytes_copied / messages)
    return counts


def recorded():
    """The record's counts."""
    with open(RECORD, newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return {(row["kind"], row["what"]): float(row["count"]) for row in rows}


def made_with():
    """What the counts depend on beside the code."""
    rustc = subprocess.run(["rustc", "--version"], stdout=subprocess.PIPE, text=True).stdout.strip()
    return f"{rustc}, {os.confstr('CS_GNU_LIBC_VERSION')}, {os.uname().machine}"


def record(counts):
    """Writes the record."""
    with open(RECORD, "w", newline="") as file:
        file.write(f"# benches/counts.py --record; {made_with()}\n")
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["kind", "what", "count"])
        rows.writerows([*key, value] for key, value in counts.items())


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--record", action="store_true", help="write the record anew")
    chosen = arguments.parse_args()
    counts = count(build())
    before = {} if chosen.record else recorded()
    worse = []
    for key, value in counts.items():
        known = before.get(key)
        print(f"{key[0]:<10}{key[1]:<24}{value:>10}" + (f"   record {known:g}" if before else ""))
        if before and (known is None or value > known * WORSE_MAX):
            worse.append(f"{key[0]}, {key[1]}: {value}, the record says {known}")
    if chosen.record:
        record(counts)
    if worse:
        with open(RECORD) as file:
            origin = file.readline().strip("# \n")
        print(f"worse than the record by more than {WORSE_MAX - 1:.0%}, which was made with "
              f"{origin}; here is {made_with()}:", *worse, sep="\n  ", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
