#!/bin/bash
# What goes wrong at start is one clear message and an exit code.
. "$(dirname "$0")/lib.sh"

backend=$bin_dir/vhost-user-vgpu
work=$(mktemp -d "${TMPDIR:-/tmp}/vgpu-test.XXXXXX")

# refuses TEXT COMMAND...: ends by itself, with an error that contains TEXT.
refuses() {
    local text=$1 code=0
    shift
    timeout 60 "$@" >"$work/log" 2>&1 </dev/null || code=$?
    cat "$work/log"
    [ "$code" -ne 0 ] && [ "$code" -ne 124 ] && grep -qi -- "$text" "$work/log"
}

socket_in_use() {
    local first code
    "$backend" --socket-path "$work/s" --gpu soft >"$work/first" 2>&1 &
    first=$!
    until_true test -S "$work/s"
    refuses "$work/s" "$backend" --socket-path "$work/s" --gpu soft
    code=$?
    # SIGTERM is the quick clean end: exit code 0 and no socket left.
    kill -TERM "$first"
    wait "$first" && [ ! -e "$work/s" ] && [ "$code" -eq 0 ]
}

memory_is_not_shared() {
    start_guest --private-memory --timeout 120 --program "$programs/vectorAdd" -- ./vectorAdd
    local code=0
    wait "$vm_pid" || code=$?
    cat "$run/errors" "$run/qemu.log"
    [ "$code" -ne 0 ] && grep -qi share "$run/errors"
    code=$?
    stop_guest
    return "$code"
}

check startup/help "$backend" --help
check startup/capabilities "$backend" --print-capabilities
check startup/socket-in-use-and-sigterm socket_in_use
check startup/no-such-folder refuses /nonexistent "$backend" --socket-path /nonexistent/s --gpu soft
check startup/no-such-gpu refuses nosuchgpu "$backend" --socket-path "$work/s" --gpu /nosuchgpu.so
check startup/memory-not-shared memory_is_not_shared
rm -rf "$work"
