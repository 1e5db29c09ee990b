#!/bin/bash
# The CUDA programs on this machine, without a VM: `vgpu run` starts the backend
# and the broker for each. Prints `PASS name` or `FAIL name: reason` lines.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

# bench_lines: one JSON object per line, each with the fields users script on.
bench_lines() {
    "$bin_dir/vgpu" bench --json | python3 -c '
import json, sys
lines = [json.loads(line) for line in sys.stdin]
fields = {"bench", "target", "unit", "value", "p50", "p99", "baseline", "ratio"}
sys.exit(not lines or any(set(line) != fields for line in lines))'
}

for program in device_query vectorAdd matmul_tiled reduction histogram streams_events \
    device_printf textures counter graph_loop graph_condition grid_sync cub_thrust illegal_address bad_ptx \
    exit_before_init dlopen_loop fork_test ollama_discovery; do
    check "loopback/$program" "$bin_dir/vgpu" run -- "$programs/$program"
done

check loopback/two_gpus "$bin_dir/vgpu" run --gpus 2 -- "$programs/two_gpus"

# together: sessions start beside each other.
together() {
    local pids=() pid
    for _ in 1 2 3 4 5 6 7 8; do
        "$programs/vectorAdd" &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || return 1; done
}
export programs
export -f together
check loopback/eight_at_once "$bin_dir/vgpu" run -- bash -c together

# starved: the host lets the worker wait for two seconds, and the program goes on behind that.
starved() {
    local line worker
    exec 3< <("$programs/counter" 30000)
    local program=$!
    read -r line <&3 && [ "$line" = STARTED ] || return
    worker=$(pgrep -x worker -P "$(pgrep -x vhost-user-vgpu -P "$PPID")") || return
    kill -STOP $worker && sleep 2 && kill -CONT $worker || return
    cat <&3
    wait "$program"
}
export -f starved
check loopback/starved_worker "$bin_dir/vgpu" run -- bash -c starved
check loopback/smi "$bin_dir/vgpu" run -- "$bin_dir/vgpu" smi
export bin_dir
tells_of_each_gpu() {
    local told
    told=$("$bin_dir/vgpu" run --gpus 3 -- "$bin_dir/vgpu" smi --query-gpu=index,uuid,count --format=csv,noheader)
    echo "$told" >&2
    [ "$(cut -d, -f1 <<<"$told" | xargs)" = "0 1 2" ] && [ "$(cut -d, -f2 <<<"$told" | sort -u | wc -l)" -eq 3 ]
}
export -f tells_of_each_gpu
check loopback/smi_of_three_gpus bash -o pipefail -c tells_of_each_gpu
export -f bench_lines
check loopback/bench bash -o pipefail -c bench_lines

# reports PROGRAM: what is reported of it when its launches are checked. It works as ever.
reports() {
    local out
    out=$("$bin_dir/vgpu" run --soft-check -- "$programs/$1") || return
    echo "$out" >&2
    grep '^========= ' <<<"$out" || true
}
right() { local found; found=$(reports "$1") && [ -z "$found" ]; }
wrong() { local found; found=$(reports "$1") && [[ $found == *"IllegalAddress: "*"in \`"*"PTX line"* ]]; }
export -f reports right wrong
for program in matmul_tiled reduction histogram streams_events grid_sync graph_loop textures; do
    check "loopback/checked_$program" bash -c "right $program"
done
check loopback/checked_illegal_address bash -c "wrong illegal_address"

# dumped: an inspected program leaves PTX and IR behind.
dumped() {
    local folder
    folder=$(mktemp -d) || return
    "$bin_dir/vgpu" run --dump-ir "$folder" -- "$programs/vectorAdd" &&
        grep -q vectorAdd "$folder"/module-*.ptx && grep -q '^entry ' "$folder"/*vectorAdd*.ir
    local code=$?
    rm -r "$folder"
    return $code
}
export -f dumped
check loopback/dumped bash -c dumped

# A backend tells the guest's library from a driver.
guest_library() {
    local message
    message=$("$bin_dir/vhost-user-vgpu" --socket-path /nonexistent/socket --gpu "$bin_dir/libcuda.so" 2>&1)
    [ $? -eq 3 ] && [[ $message == *"library for guests"* ]]
}
export -f guest_library
check loopback/guest_library bash -c guest_library

# Without a broker there is no device.
package=$target/guest-package
"$repo/scripts/package-guest" "$package"
check loopback/no_device env LD_LIBRARY_PATH="$package/lib" "$programs/no_device"
