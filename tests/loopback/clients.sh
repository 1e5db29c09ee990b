#!/bin/bash
# CUDA clients from PyPI, unmodified, without a VM. Prints `PASS name` or
# `FAIL name: reason` lines.
set -uo pipefail
. "$(dirname "$0")/../../scripts/lib.sh"

limit=300 # seconds for all of numba's tests, far above what they take
clients=$target/clients
requirements=$repo/tests/clients/requirements.txt

# set_up_clients: a virtual environment with the pinned versions (numba-cuda
# needs a site folder of its own, which pip's --target is not).
set_up_clients() {
    python3 -c 'import ensurepip' 2>/dev/null || install_packages python3-venv
    rm -rf "$clients"
    python3 -m venv "$clients"
    "$clients/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
    cp "$requirements" "$clients/requirements.txt"
}

if cmp -s "$requirements" "$clients/requirements.txt"; then
    already "CUDA clients from PyPI"
else
    (step "CUDA clients from PyPI" set_up_clients) || {
        echo "FAIL numba/setup: the wheels could not be installed"
        exit 1
    }
fi

timeout --kill-after=5 "$limit" "$bin_dir/vgpu" run -- \
    "$clients/bin/python" -W ignore "$repo/tests/clients/numba_smoke.py"
code=$?
# 1 has been told line by line.
[ "$code" -le 1 ] || echo "FAIL numba/exit: exit code $code"
