#!/bin/sh
# Keeps the cores of Strowger's shards fast and awake: governor, sleeping states, huge pages.
#
#   cpus.sh CORE...      for example: cpus.sh 2 3 4 5
#
# `strowger tune apply` does the same and keeps the way back; this file is for the boot. What only the
# boot loader can do comes from here as advice: the kernel's arguments that leave these cores alone.
set -u
[ $# -gt 0 ] || { echo "usage: cpus.sh CORE..." >&2; exit 64; }
latency_max=10 # microseconds; the same bound as `strowger tune`

put() {
    echo "$1" > "$2" || echo "cpus.sh: not done: $1 to $2" >&2
}

for core in "$@"; do
    cpu=/sys/devices/system/cpu/cpu$core
    [ -d "$cpu" ] || { echo "cpus.sh: no core $core" >&2; exit 66; }
    [ ! -w "$cpu/cpufreq/scaling_governor" ] || put performance "$cpu/cpufreq/scaling_governor"
    for state in "$cpu"/cpuidle/state*; do
        [ -r "$state/latency" ] || continue
        [ "$(cat "$state/latency")" -le "$latency_max" ] || put 1 "$state/disable"
    done
done

pages=/sys/kernel/mm/transparent_hugepage/enabled
case $(cat "$pages" 2> /dev/null) in
    *"[always]"*) put madvise "$pages" ;;
esac

list=$(echo "$*" | tr ' ' ',')
if [ "$(cat /sys/devices/system/cpu/isolated)" = "" ]; then
    echo "for the boot loader, when a core is left for the rest of the host:"
    echo "  isolcpus=domain,managed_irq,$list nohz_full=$list rcu_nocbs=$list"
fi
