#!/bin/bash
# The guest package never disturbs another program: see guest/preload.sh.
. "$(dirname "$0")/lib.sh"

repeat=$programs/repeat
cc -static -O2 -Wall -Wextra -o "$repeat" "$guest_tests/repeat.c" ||
    { fail preload/build "repeat.c does not compile"; exit; }
"$repo/scripts/vm" --no-install --timeout 2400 --program "$repeat" \
    --program "$guest_tests/lib.sh" --program "$guest_tests/preload.sh" \
    -- bash ./preload.sh "$@" || fail preload/guest "the guest failed with $?"
