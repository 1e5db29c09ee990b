#!/bin/bash
# The guest reboots under a running program while the backend stays: the old
# session ends, and the rebooted guest computes again.
. "$(dirname "$0")/lib.sh"

start_guest --reboots --program "$programs/vectorAdd" --program "$programs/counter" \
    -- sh -c './vectorAdd && ./counter 100000000'
check reboot/program-starts guest_printed STARTED
backend=$(cat "$run/backend.pid")
check reboot/reset monitor system_reset
check reboot/program-works-after-reboot guest_printed STARTED 2
check reboot/results-verified-after-reboot printed "PASS vectorAdd" 2
check reboot/backend-is-the-same kill -0 "$backend"
check reboot/one-session-left until_true worker_count_is 1
stop_guest
