#!/bin/bash
# The conformance programs on the software GPU: called directly, also
# with every launch checked, through the queue, and through the queue with the
# software GPU loaded as a libcuda by its path. Prints one line per program and target.
exec "$(dirname "$0")/../../scripts/conformance" --verdicts \
    --target soft-direct --target soft-checked --target soft-loopback --target soft-path
