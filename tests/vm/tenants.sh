#!/bin/bash
# Users that do not trust each other share the GPU of one guest, some of them
# with bad intent; then the whole VM is killed.
. "$(dirname "$0")/lib.sh"

list=(vectorAdd matmul_tiled reduction histogram streams_events device_printf device_query counter)
files=()
for program in "${list[@]}" illegal_address endless intruder; do files+=(--program "$programs/$program"); done
"$repo/scripts/vm" "${files[@]}" --program "$guest_tests/lib.sh" --program "$guest_tests/tenants.sh" \
    -- bash ./tenants.sh "${list[@]}" || fail tenants/guest "the guest failed with $?"

all_gone() {
    local pid
    for pid in "$@"; do ! kill -0 "$pid" 2>/dev/null || return 1; done
}

start_guest --program "$programs/endless" -- ./endless
check vm_killed/kernel-runs guest_printed RUNNING
processes=$(workers)
backend=$(cat "$run/backend.pid")
check vm_killed/has-a-worker test -n "$processes"
kill -KILL "$(pgrep -P "$(cat "$run/qemu.pid")" qemu || cat "$run/qemu.pid")"
# shellcheck disable=SC2086
check vm_killed/no-worker-is-left until_true all_gone $processes
check vm_killed/backend-ends-cleanly until_true all_gone "$backend"
check vm_killed/no-socket-is-left test ! -e "$run/backend.sock"
stop_guest
