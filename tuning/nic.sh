#!/bin/sh
# Sets up a network interface for Strowger: queues, hashing by ports, interrupts, no RPS.
#
#   nic.sh INTERFACE CORE...      for example: nic.sh eth0 2 3 4 5
#
# The cores are those of the shards, in their order ([node] cores). `strowger tune apply` does the same
# and keeps the way back; this file is for the boot, where nothing has to be undone. What a driver
# cannot do is said and passed over. `strowger tune check --interface INTERFACE` shows what came of it.
set -u
interface=${1:?the interface}
shift
[ $# -gt 0 ] || { echo "usage: nic.sh INTERFACE CORE..." >&2; exit 64; }
folder=/sys/class/net/$interface
[ -d "$folder" ] || { echo "nic.sh: no interface $interface" >&2; exit 66; }

attempt() {
    "$@" || echo "nic.sh: not done: $*" >&2
}

# One queue for each shard, or as many as there are, of each kind that the driver has.
shards=$#
ethtool -l "$interface" 2> /dev/null | awk '/^Current/ { exit } $2 + 0 > 0 { print $1, $2 }' |
    while read -r kind most; do
        case $kind in
            RX:) name=rx ;;
            TX:) name=tx ;;
            Combined:) name=combined ;;
            *) continue ;;
        esac
        count=$shards
        [ "$count" -le "$most" ] || count=$most
        now=$(ethtool -l "$interface" | awk -v kind="$kind" \
            '/^Current/ { seen = 1 } seen && $1 == kind { print $2 }')
        [ "$now" = "$count" ] || attempt ethtool -L "$interface" "$name" "$count"
    done

# Flows by addresses and ports: a trunk has one address, and many ports at best.
for flows in udp4 udp6; do
    # ethtool ends well even when it says that it cannot.
    said=$(ethtool -N "$interface" rx-flow-hash "$flows" sdfn 2>&1) && [ -z "$said" ] ||
        echo "nic.sh: not done: rx-flow-hash $flows: $said" >&2
done

# The interrupt of queue N on the core of shard N, by the number at the end of its name.
own=$(ls "$folder/device/msi_irqs" "$folder/device/../msi_irqs" 2> /dev/null | tr '\n' ' ')
awk -v own=" $own" -v interface="$interface" '
    {
        irq = $1
        sub(":", "", irq)
        name = $NF
        sub("@.*", "", name)
        is_own = index(own, " " irq " ") || name ~ "(^|[-:])" interface "([-:]|$)"
        if (is_own && name !~ /async|config/ && match(name, /[0-9]+$/))
            print irq, substr(name, RSTART)
    }' /proc/interrupts |
    while read -r irq queue; do
        nth=$((queue % $# + 1))
        eval "core=\${$nth}"
        echo "$core" > "/proc/irq/$irq/smp_affinity_list" ||
            echo "nic.sh: not done: interrupt $irq to core $core" >&2
    done

# The queues spread the packets: not again in software.
for queue in "$folder"/queues/rx-*/rps_cpus; do
    echo 0 > "$queue" || echo "nic.sh: not done: $queue" >&2
done
