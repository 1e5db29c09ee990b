#!/bin/bash
# How often programs wait for the worker: what a real driver answers without its
# GPU is answered in the guest library. Prints `PASS name` or `FAIL name: reason`
# lines.
set -uo pipefail
. "$(dirname "$0")/../../scripts/lib.sh"

limit=300 # seconds for one program, far above what one takes

# round_trips COMMAND...: what the guest library counted. The last process to
# print its summary is the program itself.
round_trips() {
    VGPU_TRACE=1 timeout --kill-after=5 "$limit" "$bin_dir/vgpu" run -- "$@" 2>&1 >/dev/null |
        tee /dev/stderr | sed -n 's/^vgpu: [0-9]* calls, \([0-9]*\) round trips$/\1/p' | tail -n 1
}

# at_most NAME MOST COMMAND...: the test NAME passes with at most MOST round trips.
at_most() {
    local name=round_trips/$1 most=$2 trips
    shift 2
    trips=$(round_trips "$@")
    if [ -z "$trips" ]; then
        echo "FAIL $name: no count"
    elif [ "$trips" -gt "$most" ]; then
        echo "FAIL $name: $trips round trips, at most $most"
    else
        echo "PASS $name ($trips round trips, at most $most)"
    fi
}

# client NAME MOST: tests/clients/first_NAME.py, in the environment that
# clients.sh has made.
client() {
    local python=$target/clients/$1/bin/python
    if [ -x "$python" ]; then
        CUPY_COMPILE_WITH_PTX=1 at_most "$1" "$2" "$python" -W ignore "$repo/tests/clients/$1/first.py"
    else
        echo "SKIP round_trips/$1: tests/loopback/clients.sh has not run"
    fi
}

at_most first-kernel 25 "$programs/launch_loop" 1

# A loop of launches adds none.
few=$(round_trips "$programs/launch_loop" 1)
many=$(round_trips "$programs/launch_loop" 20001)
if [ -n "$few" ] && [ "$few" = "$many" ]; then
    echo "PASS round_trips/launch-loop (0 for 20000 launches)"
else
    echo "FAIL round_trips/launch-loop: $few round trips for 1 launch, $many for 20001"
fi

# Nor does a loop of captures, updates and launches of graphs.
few=$(round_trips "$programs/graph_loop" 2)
many=$(round_trips "$programs/graph_loop" 2002)
if [ -n "$few" ] && [ "$few" = "$many" ]; then
    echo "PASS round_trips/graphs (0 for 2000 captures, updates and launches)"
else
    echo "FAIL round_trips/graphs: $few round trips for 2 graphs, $many for 2002"
fi

client numba 60
client cupy 150
