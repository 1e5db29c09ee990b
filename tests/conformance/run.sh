#!/bin/bash
# Runs conformance programs one after the other, here, in a guest or on any
# machine that has the folder, and frames what each prints:
#
#   run.sh LIMIT PROGRAM... [-- WRAPPER...]
#
# LIMIT: seconds for each program. WRAPPER: a command in front of each.
limit=$1 programs=() wrapper=()
shift
while [ $# -gt 0 ]; do
    case $1 in
    --) shift; wrapper=("$@"); break ;;
    *) programs+=("$1"); shift ;;
    esac
done
for program in "${programs[@]}"; do
    echo "== program ${program##*/}"
    echo "== program ${program##*/}" >&2
    timeout --kill-after=5 "$limit" "${wrapper[@]}" "$program" </dev/null
    # On a line of its own, whatever the program printed last.
    printf '\n== exit %d\n' $?
done
