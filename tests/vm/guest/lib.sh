# Shared by the tests that run inside the guest. Every test prints one line:
# `PASS name` or `FAIL name: reason`; details go to stderr.

# check NAME COMMAND ARG...: the test NAME passes if COMMAND exits with 0.
check() {
    local name=$1 code=0
    shift
    "$@" >&2 || code=$?
    if [ "$code" -eq 0 ]; then echo "PASS $name"; else echo "FAIL $name: exit code $code"; fi
}

# refuse NAME TEXT COMMAND ARG...: COMMAND must fail and its output (standard
# output and error) must contain TEXT.
refuse() {
    local name=$1 text=$2 output code=0
    shift 2
    output=$("$@" 2>&1) || code=$?
    if [ "$code" -eq 0 ]; then
        echo "FAIL $name: exit code 0"
    elif ! grep -qi -- "$text" <<<"$output"; then
        echo "FAIL $name: the output does not contain '$text'"
    else
        echo "PASS $name"
        return
    fi
    echo "$output" >&2
}

# until_true SECONDS COMMAND ARG...: repeat COMMAND until it succeeds.
until_true() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.1
    done
}

# start_vgpud: succeeds when it serves clients, fails when it has ended.
start_vgpud() {
    mkdir -p /run/vgpu
    exec 9< <(exec setsid vgpud --ready-fd 1 2>/run/vgpu/vgpud.log </dev/null)
    local code=0
    read -t 30 -r -u 9 _ || code=$?
    exec 9<&-
    return "$code"
}

stop_vgpud() {
    kill -TERM "$(pidof_vgpud)"
    until_true 30 vgpud_is_gone
}

pidof_vgpud() {
    local comm
    for comm in /proc/[0-9]*/comm; do
        if [ "$(cat "$comm" 2>/dev/null)" = vgpud ]; then
            comm=${comm#/proc/}
            echo "${comm%/comm}"
            return 0
        fi
    done
    return 1
}

vgpud_is_gone() { ! pidof_vgpud >/dev/null; }
