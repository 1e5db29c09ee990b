#!/bin/bash
# Faults, killed clients, missing vgpud and hugepages; a guest without device.
. "$(dirname "$0")/lib.sh"

files=()
for program in vectorAdd counter illegal_address bad_ptx endless no_device; do
    files+=(--program "$programs/$program")
done
"$repo/scripts/vm" "${files[@]}" --program "$guest_tests/lib.sh" --program "$guest_tests/bad_input.sh" \
    -- bash ./bad_input.sh || fail bad_input/guest "the guest failed with $?"
"$repo/scripts/vm" --no-device --program "$programs/no_device" \
    --program "$guest_tests/lib.sh" --program "$guest_tests/no_device.sh" \
    -- bash ./no_device.sh || fail no_device/guest "the guest failed with $?"
