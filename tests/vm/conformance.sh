#!/bin/bash
# The conformance programs in a guest. Prints one line per program.
exec "$(dirname "$0")/../../scripts/conformance" --verdicts --target soft-vm
