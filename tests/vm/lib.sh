# Shared by the tests that boot a guest. Each prints `PASS name` or
# `FAIL name: reason` lines on stdout; scripts/test counts them.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"
guest_tests=$repo/tests/vm/guest
# Limit for one step of a test; far above what it takes, so that a slow
# machine does not fail a test.
patience=180

pass() { echo "PASS $1"; }
fail() { echo "FAIL $1: $2"; }

# check NAME COMMAND ARG...: the test NAME passes if COMMAND exits with 0.
check() {
    local name=$1 code=0
    shift
    "$@" >&2 || code=$?
    if [ "$code" -eq 0 ]; then pass "$name"; else fail "$name" "$1: exit code $code"; fi
}

# until_true COMMAND ARG...: repeat COMMAND until it succeeds or patience ends.
until_true() {
    local deadline=$((SECONDS + patience))
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.1
    done
}

# start_guest OPTION... -- COMMAND...: boot in the background; its output is in
# $out, its process ids and the monitor in $run.
start_guest() {
    run=$(mktemp -d "${TMPDIR:-/tmp}/vgpu-test.XXXXXX")
    out=$run/output
    "$repo/scripts/vm" --run-dir "$run" --timeout 300 "$@" >"$out" 2>"$run/errors" &
    vm_pid=$!
    trap 'stop_guest' EXIT
}

# guest_printed TEXT [TIMES]: wait until the guest has printed TEXT.
guest_printed() { until_true printed_or_ended "$@" && printed "$@"; }
printed() { [ "$(grep -c -F -- "$1" "$out")" -ge "${2:-1}" ]; }
printed_or_ended() { printed "$@" || ! kill -0 "$vm_pid" 2>/dev/null; }

# guest_exits CODE: wait for the guest's end and compare its exit code.
guest_exits() {
    local code=0
    wait "$vm_pid" || code=$?
    [ "$code" -eq "$1" ] && return 0
    echo "the guest's command exited with $code, expected $1:"
    cat "$out" "$run/errors"
    return 1
}

stop_guest() {
    kill -TERM "$vm_pid" 2>/dev/null && wait "$vm_pid"
    rm -rf "$run"
    trap - EXIT
}

# monitor COMMAND [ARGUMENTS]: one command to QEMU, its arguments in JSON; its answer on stdout.
monitor() { "$repo/tests/vm/qmp.py" "$run/monitor.sock" "$@"; }

# workers: the backend's processes, one per session.
workers() { pgrep -f -P "$(cat "$run/backend.pid")" '^vhost-user-vgpu worker '; }
worker_count_is() { [ "$(workers | wc -l)" -eq "$1" ]; }
