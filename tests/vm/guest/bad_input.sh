#!/bin/bash
# What goes wrong in a guest is an error with a remedy, and stays with the
# process that caused it. Package installed, vgpud running.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

# A program that faults does not disturb one that runs at the same time.
neighbour_of_a_fault() {
    ./counter 200 >/tmp/counter.out &
    local counter=$!
    until_true 60 grep -q STARTED /tmp/counter.out || return 1
    ./illegal_address || return 2
    ./bad_ptx || return 3
    wait "$counter"
}

# A client killed in the middle of a kernel: its memory is free again.
killed_client() {
    local before client
    before=$(used_memory) || return 1
    ./endless >/tmp/endless.out &
    client=$!
    until_true 60 grep -q RUNNING /tmp/endless.out || return 2
    ! memory_is_back_to "$before" || return 4
    kill -KILL "$client"
    wait "$client"
    until_true 10 memory_is_back_to "$before" || return 3
    ./vectorAdd
}

used_memory() { vgpu smi --query-gpu=memory.used --format=csv,noheader,nounits; }
memory_is_back_to() { [ "$(used_memory)" = "$1" ]; }

# Many clients, more than there are session queues, one after the other.
many_clients() {
    local round
    for round in $(seq 20); do ./vectorAdd >/dev/null || return "$round"; done
}

check bad_input/neighbour-of-a-fault neighbour_of_a_fault
check bad_input/killed-client killed_client
check bad_input/many-clients many_clients

check bad_input/vgpud-stops stop_vgpud
check bad_input/cuInit-without-vgpud ./no_device
refuse bad_input/doctor-without-vgpud vgpud vgpu doctor

# vgpud reserves what it needs by itself; here the kernel has no more to give.
pool=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
echo 0 >$pool
echo 0 >/tmp/no-hugepages
mount --bind /tmp/no-hugepages $pool
refuse bad_input/vgpud-without-hugepages hugepages timeout 30 vgpud
refuse bad_input/doctor-without-hugepages nr_hugepages vgpu doctor
umount $pool
check bad_input/vgpud-starts-again start_vgpud
check bad_input/works-again ./vectorAdd
