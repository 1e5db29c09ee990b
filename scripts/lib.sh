# Shared by the scripts beside this file: paths, progress lines, logged steps.
# Source it with `. "$(dirname "$0")/lib.sh"` under `set -euo pipefail`.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=$repo/target
cache=$target/vm          # QEMU, guest kernel, guest root
nvcc_root=$target/nvcc    # CUDA compiler from PyPI wheels
programs=$target/programs # compiled tests/programs, driven by the runtime API
conformance=$target/conformance # compiled tests/conformance, driver API
logs=$target/logs

# The cargo profile whose binaries the demo and the VM tests use.
bin_dir=${CARGO_TARGET_DIR:-$target}/release

if [ -t 2 ]; then
    bold=$'\e[1m' red=$'\e[31m' green=$'\e[32m' dim=$'\e[2m' plain=$'\e[0m'
else
    bold='' red='' green='' dim='' plain=''
fi

# All progress goes to stderr, so that stdout stays the guest's or the test's.
say() { printf '%s\n' "$*" >&2; }

die() {
    say "${red}error:${plain} $*"
    exit 1
}

# step NAME COMMAND ARGS...: run COMMAND with its output in a log file of its
# own; on failure name the step and the log, show the log's end and exit.
step() {
    local name=$1 log start status=0
    shift
    mkdir -p "$logs"
    log=$logs/$(printf '%s' "$name" | tr -cs 'A-Za-z0-9' '-' | tr 'A-Z' 'a-z').log
    start=$SECONDS
    if [ -t 2 ]; then printf '  %s ...' "$name" >&2; fi
    # A subshell with errexit, so that a failing line inside a function counts.
    set +e
    (set -euo pipefail; "$@") >"$log" 2>&1 </dev/null
    status=$?
    set -e
    if [ -t 2 ]; then printf '\r\e[K' >&2; fi
    if [ "$status" -ne 0 ]; then
        say "  ${red}failed${plain} $name (exit $status after $((SECONDS - start)) s)"
        tail -n 20 "$log" | sed 's/^/    | /' >&2
        die "step '$name' failed; the whole log is $log"
    fi
    say "  ${green}done${plain}   $name ${dim}($((SECONDS - start)) s)${plain}"
}

# already NAME: the progress line of a step whose result is cached.
already() { say "  ${green}done${plain}   $1 ${dim}(cached)${plain}"; }

have() { command -v "$1" >/dev/null 2>&1; }

# version_at_least WANTED ACTUAL: compare dotted versions.
version_at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# install_packages PACKAGE...: install those Debian packages that are missing.
install_packages() {
    local missing=() package
    for package; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" -eq 0 ] ||
        die "missing Debian packages; run as root: apt-get install ${missing[*]}"
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# build_release: all binaries of the workspace, in the release profile. The software GPU
# compiles kernels, for which LLVM is linked in.
build_release() { (cd "$repo" && cargo build --release --workspace --features vhost-user-vgpu/llvm); }

# build_debug: the same in the profile of the tests, some of which run them.
build_debug() { (cd "$repo" && cargo build --workspace); }
