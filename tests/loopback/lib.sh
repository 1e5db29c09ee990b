# Sourced by scripts here that run programs.
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

limit=120 # seconds per program, far above what one takes

# check NAME COMMAND...: one test.
check() {
    local name=$1 code=0
    shift
    timeout --kill-after=5 "$limit" "$@" >&2 || code=$?
    if [ "$code" -eq 0 ]; then echo "PASS $name"; else echo "FAIL $name: exit code $code"; fi
}
