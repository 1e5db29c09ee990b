#!/bin/bash
# The backend dies; the device is taken out and put back with another one; the
# guest computes again without a reboot.
. "$(dirname "$0")/lib.sh"

start_guest --hotplug --program "$programs/vectorAdd" --program "$programs/endless" \
    --program "$guest_tests/lib.sh" --program "$guest_tests/replug.sh" -- bash ./replug.sh
check replug/program-starts guest_printed RUNNING
kill -KILL "$(cat "$run/backend.pid")"
check replug/guest-sees-the-dead-backend guest_printed 'PASS replug/doctor-names-the-dead-backend'
"$bin_dir/vhost-user-vgpu" --socket-path "$run/second.sock" --gpu soft --memory 2G >"$run/second.log" 2>&1 &
second=$!
until_true test -S "$run/second.sock"
check replug/device-goes-and-comes "$repo/qemu-config/replug" "$run/monitor.sock" "$run/second.sock"
check replug/guest-ends-well guest_exits 0
grep -E '^(PASS|FAIL) ' "$out"
kill -TERM "$second"
wait "$second"
stop_guest
