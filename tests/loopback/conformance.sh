#!/bin/bash
# The conformance programs on the software GPU: called directly, also
# with every launch checked or every kernel compiled, through the queue, and through
# the queue with the software GPU loaded as a libcuda by its path. Prints one line
# per program and target.
set -uo pipefail
. "$(dirname "$0")/../../scripts/lib.sh"

# The software GPU may be compiling a kernel when its process exits: LLVM's global
# objects must not ask to be destroyed then.
for file in libcuda_soft.so vhost-user-vgpu; do
    name=exit_while_compiling/$file
    symbols=$(nm -D --undefined-only "$bin_dir/$file") || symbols=__cxa_atexit
    case $symbols in
    *__cxa_atexit*) echo "FAIL $name: its global objects are destroyed at exit" ;;
    *) echo "PASS $name" ;;
    esac
done

exec "$(dirname "$0")/../../scripts/conformance" --verdicts \
    --target soft-direct --target soft-checked --target soft-compiled --target soft-loopback --target soft-path
