#!/usr/bin/env bash
# Installs the package into a clean Debian of its own, starts it there, makes calls, removes, purges.
#
#   tuning/package/test.sh [PACKAGE.deb]     default: one that is built for it, with profile dev
#
# Needs root, debootstrap and SIPp; a root file system is made once and kept in target/package/root
# (STROWGER_ROOT names another place). Namespaces of mounts, processes and network are the script's own
# and go with it; nothing of the host is written but that folder.
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)
cd "$here"
root=${STROWGER_ROOT:-$here/target/package/root}

if ((EUID != 0)); then
    echo "test.sh: not tested: a root file system of one's own takes root" >&2
    exit 77
fi
if [[ ${1:-} != --inside ]]; then
    for tool in debootstrap sipp unshare dpkg-deb; do
        command -v "$tool" > /dev/null || { echo "test.sh: $tool is not installed" >&2; exit 69; }
    done
    package=${1:-$(tuning/package/build.sh dev | tail -n 1)}
    [[ -f $package ]] || { echo "test.sh: no package $package" >&2; exit 66; }
    if [[ ! -f $root/.complete ]]; then
        rm -rf "$root"
        mkdir -p "$root"
        debootstrap --variant=minbase --include=adduser,systemd bookworm "$root" > "$root.log"
        touch "$root/.complete"
    fi
    exec unshare --mount --net --pid --fork --kill-child "$0" --inside "$(realpath "$package")"
fi

# From here on everything is in namespaces of this script.
package=$2
step() { echo "--- $*"; }
fail() { echo "test.sh: FAILED: $*" >&2; exit 1; }
layers=$(mktemp -d)
mount -t tmpfs none "$layers"
mkdir "$layers/upper" "$layers/work" "$layers/all"
mount -t overlay none -o "lowerdir=$root,upperdir=$layers/upper,workdir=$layers/work" "$layers/all"
all=$layers/all
mount -t proc none "$all/proc"
mount -t proc none /proc
mount --bind /sys "$all/sys"
mount --bind /dev "$all/dev"
ip link set lo up
clean=(/usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive)
inside() { chroot "$all" "${clean[@]}" "$@"; }

step "install"
cp "$package" "$all/root/strowger.deb"
inside dpkg --install /root/strowger.deb
inside getent passwd strowger > /dev/null || fail "there is no user strowger"
[[ $(inside stat -c '%U:%G %a' /etc/strowger/strowger.toml) == "root:strowger 640" ]] || fail "the file's owner"
[[ $(inside stat -c '%U:%G %a' /var/lib/strowger) == "strowger:strowger 750" ]] || fail "the state's owner"
for file in usr/share/man/man1/strowger.1.gz usr/share/bash-completion/completions/strowger \
    usr/share/zsh/vendor-completions/_strowger usr/share/strowger/tuning/nic.sh; do
    [[ -e $all/$file ]] || fail "there is no /$file"
done
unit=$(inside sh -c 'ls /lib/systemd/system/strowger.service /usr/lib/systemd/system/strowger.service 2> /dev/null' | head -n 1)
said=$(inside systemd-analyze verify "$unit" 2>&1 | grep -v 'man ' || true)
[[ -z $said ]] || fail "systemd says of the unit: $said"
inside strowger check -f /etc/strowger/strowger.toml

step "start as the unit does: its command, its user, its capabilities, no others"
command=$(sed -n 's/^ExecStart=//p' "$all$unit")
[[ -n $command ]] || fail "the unit starts nothing"
capabilities=$(sed -n 's/^AmbientCapabilities=//p' "$all$unit" | tr 'A-Z' 'a-z' | sed 's/cap_/+/g; s/ /,/g')
# $command is words, and nothing for a shell; exec, so that its process is the one that is asked and stopped.
# shellcheck disable=SC2086
(exec chroot "$all" "${clean[@]}" setpriv --reuid strowger --regid strowger --init-groups --no-new-privs \
    --bounding-set "-all,$capabilities" --inh-caps "-all,$capabilities" \
    --ambient-caps "-all,$capabilities" $command) > "$layers/said" 2>&1 &
proxy=$!
for _ in $(seq 300); do
    grep -q '^listening on' "$layers/said" && break
    kill -0 "$proxy" 2> /dev/null || break
    sleep 0.1
done
grep -q '^listening on' "$layers/said" || { cat "$layers/said"; fail "it does not start"; }
[[ $(awk '/^Uid:/ { print $2 }' "/proc/$proxy/status") == "$(inside id -u strowger)" ]] ||
    fail "it does not run as strowger"

step "calls"
(cd "$layers" && sipp -sn uas -i 127.0.0.1 -p 5080 -bg -trace_err > "$layers/callee" 2>&1) || true
(cd "$layers" && timeout 60 sipp 127.0.0.1:5080 -rsa 127.0.0.1:5060 -sn uac -i 127.0.0.1 -p 5090 \
    -m 10 -r 5 -d 500 -trace_stat -stf "$layers/calls.csv" > "$layers/caller" 2>&1) ||
    { tail -n 40 "$layers/caller"; fail "a call failed"; }
served=$(awk -F';' 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "SuccessfulCall(C)") at = i } END { print $at }' "$layers/calls.csv")
[[ $served == 10 ]] || fail "$served of 10 calls"
echo "10 of 10 calls"

step "stop"
kill -TERM "$proxy"
wait "$proxy" || fail "it ends with $?"
grep -q 'shard' "$layers/said" || fail "no summary"

step "remove: state and configuration stay"
inside dpkg --remove strowger
[[ ! -e $all/usr/bin/strowger ]] || fail "the binary stayed"
[[ -e $all/etc/strowger/strowger.toml && -d $all/var/lib/strowger ]] || fail "removing took too much"

step "purge: nothing stays"
inside dpkg --purge strowger
for left in etc/strowger var/lib/strowger usr/share/strowger; do
    [[ ! -e $all/$left ]] || fail "/$left stayed"
done
! inside getent passwd strowger > /dev/null || fail "the user stayed"
echo "test.sh: passed in $SECONDS s"
