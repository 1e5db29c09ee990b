#!/bin/bash
# A CUDA client in the guest: cudarc, with kernels that NVRTC compiles there.
. "$(dirname "$0")/lib.sh"

smoke=$target/clients/cudarc/debug/cudarc-smoke
# Its line says what failed.
"$repo/tests/loopback/clients.sh" --cudarc || exit 0
nvrtc=$(echo "$target"/clients/bindings/lib/python3*/site-packages/nvidia/cu13/lib)
stripped=$(mktemp -d "${TMPDIR:-/tmp}/vgpu-test.XXXXXX")
trap 'rm -rf "$stripped"' EXIT
strip -o "$stripped/cudarc-smoke" "$smoke"
files=(--program "$stripped/cudarc-smoke")
for library in "$nvrtc"/libnvrtc.so.* "$nvrtc"/libnvrtc-builtins.so.*; do files+=(--program "$library"); done
"$repo/scripts/vm" --memory 3G "${files[@]}" -- env LD_LIBRARY_PATH=. ./cudarc-smoke |
    sed 's,cudarc/,vm-cudarc/,' || fail vm-cudarc/exit "the guest failed with $?"
