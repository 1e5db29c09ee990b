#!/bin/bash
# The CUDA programs in the guest, and the tools.
. "$(dirname "$0")/lib.sh"

list=(device_query vectorAdd matmul_tiled reduction histogram streams_events device_printf textures
    counter graph_loop grid_sync illegal_address bad_ptx exit_before_init dlopen_loop fork_test ollama_discovery)
files=()
for program in "${list[@]}"; do files+=(--program "$programs/$program"); done
"$repo/scripts/vm" "${files[@]}" --program "$guest_tests/lib.sh" --program "$guest_tests/programs.sh" \
    -- bash ./programs.sh "${list[@]}" || fail programs/guest "the guest failed with $?"
