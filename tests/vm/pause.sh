#!/bin/bash
# The guest is paused and resumed while a program computes: nothing is lost. It does not move to another machine.
. "$(dirname "$0")/lib.sh"

is_paused() { monitor query-status | grep -q '"paused"'; }
is_running() { monitor query-status | grep -q '"running"'; }

# pause_and_resume ROUNDS: QEMU's stop reads every queue's position from the
# backend, cont gives it back.
pause_and_resume() {
    local round
    for round in $(seq "$1"); do
        monitor stop >/dev/null && is_paused && monitor cont >/dev/null && is_running || return "$round"
    done
}

# The state of a GPU is not saved, so QEMU must not save that of the guest either.
migration_is_refused() {
    local answer
    answer=$(monitor migrate '{"uri": "exec:cat >/dev/null"}' 2>&1) && return 1
    [[ $answer == *"blocked by non-migratable device"* ]]
}

start_guest --program "$programs/counter" -- ./counter 20000
check pause/program-starts guest_printed STARTED
check pause/migration-is-refused migration_is_refused
check pause/ten-times pause_and_resume 10
check pause/program-verified guest_exits 0
stop_guest

# The same with a kernel on the device that never ends.
start_guest --program "$programs/endless" -- ./endless
check pause/endless-kernel-starts guest_printed RUNNING
check pause/during-an-endless-kernel pause_and_resume 3
stop_guest
