#!/bin/bash
# Eight users' programs at once, and beside them a fault, a killed program, an
# endless kernel, a flood and forged descriptors: the eight get their results,
# all memory comes back, and the device serves on. At the end vgpud is killed.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

chmod 755 /root /root/*
used_memory() { vgpu smi --query-gpu=memory.used --format=csv,noheader,nounits; }
memory_is_back_to() { [ "$(used_memory)" = "$1" ]; }

without_rights=(--clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all)

# as USER COMMAND ARG...: without any right of root's.
as() {
    local user=$1
    shift
    setpriv --reuid "$user" --regid "$user" "${without_rights[@]}" "$@"
}

# start USER OUTPUT COMMAND ARG...: the same in the background; its process is $started.
start() {
    local user=$1 output=$2
    shift 2
    setpriv --reuid "$user" --regid "$user" "${without_rights[@]}" "$@" >"$output" 2>&1 &
    started=$!
}

# misbehave: programs of five more users, until `well` has ended.
misbehave() {
    local killed
    start 2001 /tmp/endless.out ./endless
    endless=$started
    start 2002 /tmp/killed.out ./endless
    killed=$started
    until_true 60 grep -q RUNNING /tmp/endless.out && until_true 60 grep -q RUNNING /tmp/killed.out || return 1
    kill -KILL "$killed"
    as 2003 ./illegal_address || return 2
    start 2004 /tmp/intruder.out ./intruder 6
    intruders=("$started")
    start 2005 /tmp/flood.out ./intruder 6
    intruders+=("$started")
    until_true 60 grep -q INTRUDING /tmp/intruder.out
}

well_behaved() {
    local user=1000 pids=() pid failed=0
    for program in "$@"; do
        user=$((user + 1))
        start "$user" "/tmp/$program.out" ./"$program"
        pids+=("$started")
    done
    for pid in "${pids[@]}"; do wait "$pid" || failed=$((failed + 1)); done
    for program in "$@"; do grep -q "^PASS" "/tmp/$program.out" || cat "/tmp/$program.out"; done >&2
    return "$failed"
}

bus_master_is_off() {
    local command
    command=$(od -An -tu1 -j4 -N1 /sys/bus/pci/devices/"$1"/config)
    [ $((command & 4)) -eq 0 ]
}

vgpud_killed() {
    local device
    device=$(basename "$(dirname "$(grep -l 0x1067 /sys/bus/pci/devices/*/device)")")
    ! bus_master_is_off "$device" || return 1
    kill -KILL "$(pidof_vgpud)"
    until_true 10 bus_master_is_off "$device"
}

before=$(used_memory)
check tenants/eight-users-alone well_behaved "$@"
check tenants/five-more-users-misbehave misbehave
check tenants/eight-users-beside-them well_behaved "$@"
check tenants/device-serves-on vgpu smi
kill -KILL "$endless"
wait "${intruders[@]}"
check tenants/all-memory-is-back until_true 20 memory_is_back_to "$before"

start 2001 /tmp/last.out ./endless
last=$started
until_true 60 grep -q RUNNING /tmp/last.out
check tenants/killed-vgpud-stops-the-device vgpud_killed
check tenants/its-client-gets-an-error until_true 20 sh -c "! kill -0 $last 2>/dev/null"
check tenants/vgpud-starts-again start_vgpud
check tenants/works-again as 1001 ./vectorAdd
check tenants/memory-is-back-again until_true 20 memory_is_back_to "$before"
