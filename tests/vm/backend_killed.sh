#!/bin/bash
# The backend is killed under running programs: each gets an error and ends,
# and no process of the backend stays behind.
. "$(dirname "$0")/lib.sh"

all_gone() {
    local pid
    for pid in "$@"; do ! kill -0 "$pid" 2>/dev/null || return 1; done
}

# kill_backend_under COMMAND TEXT CODE: boot, wait for TEXT, kill, expect CODE.
kill_backend_under() {
    local name=$1 text=$2 code=$3 processes
    start_guest --program "$programs/$name" -- "./$name" 100000000
    check "backend_killed/$name-starts" guest_printed "$text"
    processes=$(workers)
    check "backend_killed/$name-has-a-worker" test -n "$processes"
    kill -KILL "$(cat "$run/backend.pid")"
    check "backend_killed/$name-ends-with-an-error" guest_exits "$code"
    # shellcheck disable=SC2086
    check "backend_killed/$name-leaves-no-worker" until_true all_gone $processes
    stop_guest
}

kill_backend_under endless RUNNING 3
kill_backend_under counter STARTED 1
