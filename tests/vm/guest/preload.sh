#!/bin/bash
# The guest package never disturbs another program. Runs in a guest that has
# the device and, in /opt/vgpu, the package that is not installed yet: what
# ordinary programs print before is what they must print after, 1,000 times
# each: with the package installed, with libcuda in LD_PRELOAD, and with libcuda
# in /etc/ld.so.preload (we never do either; a user may).
set -uo pipefail
. "$(dirname "$0")/lib.sh"

runs=${1:-1000}
library=/usr/lib/x86_64-linux-gnu/vgpu/libcuda.so.1
expected=/tmp/expected
mkdir -p "$expected"

# The programs, each as a function that runs its arguments plus the command.
names=(lspci lspci-vvv cat ls sh python3)
with() {
    local name=$1
    shift
    case $name in
    lspci) "$@" lspci ;;
    lspci-vvv) "$@" lspci -vvv ;;
    cat) "$@" cat /proc/self/comm ;;
    ls) "$@" ls /proc/self/fd ;;
    sh) "$@" sh -c 'echo "$0"; echo /proc/self/fd/*; ulimit -a' ;;
    python3)
        "$@" python3 -c 'import os, sys
print(sys.version, sorted(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")))'
        ;;
    esac
}

save() { with "$1" ./repeat save "$expected/$1"; }
same() { with "$1" ./repeat check "$expected/$1" "${2:-$runs}"; }

# What the package may change on the system, to be compared around it.
system_state() {
    find /usr /etc -xdev ! -name ld.so.cache -printf '%p %y %m %l\n' | sort
    find /etc -xdev -type f ! -name ld.so.cache -exec md5sum {} + | sort
    ldconfig -p
    cat /proc/sys/vm/nr_hugepages
}

# without_driver_state: lspci's lines that say which driver holds the device
# and how that driver set it up; a broker that owns a device has to change them.
without_driver_state() {
    grep -v -E 'Control:|Status:|Latency:|Interrupt:|Region|MSI-X: Enable|Kernel driver in use' "$1"
}

only_driver_state_differs() {
    diff <(without_driver_state "$expected/lspci-vvv") <(without_driver_state "$expected/lspci-vvv.owned")
}

all_the_same() {
    local name
    for name in "${names[@]}"; do check "preload/$1/$name" same "$name"; done
}

ldconfig
system_state >/tmp/state.before
for name in "${names[@]}"; do save "$name"; done

check preload/install /opt/vgpu/install.sh
check preload/installed/lspci-vvv-before-vgpud same lspci-vvv 10

# From here on vgpud owns the device, which lspci -vvv shows. doctor uses it
# once: the interrupt that this leaves pending shows there as well.
check preload/vgpud-starts start_vgpud
check preload/doctor-is-content vgpu doctor
with lspci-vvv ./repeat save "$expected/lspci-vvv.owned"
check preload/vgpud-changes-only-driver-state only_driver_state_differs
mv "$expected/lspci-vvv.owned" "$expected/lspci-vvv"

all_the_same installed

export REPEAT_PRELOAD=$library
all_the_same LD_PRELOAD
unset REPEAT_PRELOAD

echo "$library" >/etc/ld.so.preload
all_the_same ld.so.preload
refuse preload/doctor-finds-the-leftover ld.so.preload vgpu doctor
rm /etc/ld.so.preload

check preload/vgpud-stops stop_vgpud
check preload/uninstall /opt/vgpu/uninstall.sh
system_state >/tmp/state.after
check preload/uninstall-leaves-nothing diff /tmp/state.before /tmp/state.after
