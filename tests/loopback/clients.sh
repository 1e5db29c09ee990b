#!/bin/bash
# CUDA clients from PyPI and crates.io, unmodified, without a VM. Prints `PASS
# name` or `FAIL name: reason` lines.
#
#   tests/loopback/clients.sh [--all]    --all: numba's own tests to the last one, and gpt4all
#   tests/loopback/clients.sh --cudarc   only make cudarc's program, and NVRTC for it
#   tests/loopback/clients.sh --llama    only llama.cpp, which takes half an hour of two cores to compile
set -uo pipefail
. "$(dirname "$0")/../../scripts/lib.sh"
. "$repo/scripts/lib-llama.sh"

told=10   # exit code of tests/clients/checks.py; Python's own is 1
limit=600 # seconds for one client, far above what one takes
suite_limit=3600
arguments=()
sources=$repo/tests/clients
whole=${1:-}

# environment NAME: a virtual environment with the pinned versions (numba-cuda
# needs a site folder of its own, which pip's --target is not).
environment() {
    local place=$target/clients/$1 list=$sources/$1/requirements.txt
    python3 -c 'import ensurepip' 2>/dev/null || install_packages python3-venv
    rm -rf "$place"
    python3 -m venv "$place"
    "$place/bin/pip" install --quiet --disable-pip-version-check -r "$list"
    cp "$list" "$place/requirements.txt"
}

# build_pycuda: the same for PyCUDA, which PyPI has as source: compiled with the headers of the other wheels
# and linked with this project's libcuda.
build_pycuda() {
    local place=$target/clients/pycuda list=$sources/pycuda/requirements.txt cuda
    install_packages build-essential python3-dev python3-venv
    rm -rf "$place"
    python3 -m venv "$place"
    grep -v '^pycuda' "$list" >"$place/wheels.txt"
    "$place/bin/pip" install --quiet --disable-pip-version-check -r "$place/wheels.txt"
    cuda=$(echo "$place"/lib/python3*/site-packages/nvidia/cu13)
    mkdir "$place/link"
    ln -s "$bin_dir/libcuda.so" "$place/link/libcuda.so"
    ln -s "$cuda/lib/libcurand.so.10" "$place/link/libcurand.so"
    PATH=$nvcc_root/nvidia/cu13/bin:$PATH CPATH=$nvcc_root/nvidia/cu13/include:$cuda/include LIBRARY_PATH=$place/link \
        CFLAGS='-O0 -g0' "$place/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir -r "$list"
    cp "$list" "$place/requirements.txt"
}

# set_up NAME [COMMAND...]: make the environment unless it is there; prints a FAIL line if it
# cannot be made.
set_up() {
    if cmp -s "$sources/$1/requirements.txt" "$target/clients/$1/requirements.txt"; then
        already "$1 from PyPI"
        return
    fi
    local name=$1
    shift
    [ $# -gt 0 ] || set -- environment "$name"
    (step "$name from PyPI" "$@") || {
        echo "FAIL $name/setup: the packages could not be installed"
        return 1
    }
}

# client NAME [OPTION...]: tests/clients/NAME/smoke.py, in a virtual GPU started
# with the options; the program gets what is in `arguments`.
client() {
    local name=$1 code=0
    shift
    set_up "$name" || return 0
    PYTHONPATH=$sources timeout --kill-after=5 "$limit" "$bin_dir/vgpu" run "$@" -- \
        "$target/clients/$name/bin/python" -W ignore "$sources/$name/smoke.py" "${arguments[@]}" || code=$?
    # What failed has been told line by line then.
    [ "$code" -eq 0 ] || [ "$code" -eq "$told" ] || echo "FAIL $name/exit: exit code $code"
}

# numba_suite: numba-cuda's own tests, against the list of those that do not pass.
numba_suite() {
    local code=0 modules=() module
    while read -r module; do
        [ "$whole" = --all ] || ! grep -qxF "$module" "$sources/numba/slow.txt" || continue
        modules+=("numba.cuda.tests.$module")
    done < <(cd "$target"/clients/numba/lib/python3*/site-packages/numba_cuda/numba/cuda/tests &&
        printf '%s\n' {core,cudadrv,cudapy,doc_examples,doc_examples/ffi,nocuda,nrt}/test_*.py | sed 's/\.py$//; s,/,.,g' | grep -v '\*')
    (cd "$target/clients/numba" && PYTHONPATH=$sources/numba timeout --kill-after=5 "$suite_limit" \
        "$bin_dir/vgpu" run -- "$target/clients/numba/bin/python" -m pytest -p suite -p no:cacheprovider \
        -o consider_namespace_packages=true --timeout 300 -q -rfE --tb=short --pyargs "${modules[@]}") || code=$?
    [ "$code" -le 1 ] || echo "FAIL numba-suite/exit: exit code $code"
}

# cudart: the runtimes of CUDA 11, 12 and 13, with a kernel compiled here.
cudart() {
    local image=$target/clients/cudart/scale.fatbin
    set_up cudart || return 0
    step "kernel for the runtimes" "$nvcc_root/nvidia/cu13/bin/nvcc" -fatbin \
        -gencode arch=compute_75,code=compute_75 -o "$image" "$sources/cudart/scale.cu" || {
        echo "FAIL cudart/setup: the kernel could not be compiled"
        return
    }
    arguments=("$image")
    client cudart
    arguments=()
}

# cudarc: tests/clients/cudarc, with the NVRTC of the Python packages.
build_cudarc() {
    (CARGO_TARGET_DIR=$target/clients/cudarc step "cudarc from crates.io" cargo build --locked \
        --manifest-path "$sources/cudarc/Cargo.toml") && return
    echo "FAIL cudarc/setup: it could not be built"
    return 1
}

cudarc() {
    local build=$target/clients/cudarc libraries code=0
    libraries=$(echo "$target"/clients/bindings/lib/python3*/site-packages/nvidia/cu13/lib)
    build_cudarc || return 0
    LD_LIBRARY_PATH=$libraries timeout --kill-after=5 "$limit" "$bin_dir/vgpu" run -- \
        "$build/debug/cudarc-smoke" || code=$?
    [ "$code" -le 1 ] || echo "FAIL cudarc/exit: exit code $code"
}

# build_llama: llama.cpp with its kernels as PTX.
build_llama() {
    local place=$target/clients/llama
    llama_prepare "$place"
    llama_compile "$place" 75-virtual -DGGML_CUDA_FA=OFF
    llama_program "$place" "$sources/llama/logits.cpp" "$place/build/bin:$place/cuda/lib"
    cp "$sources/llama/requirements.txt" "$place/requirements.txt"
}

# llama: its matrix products in float and half go through cuBLAS.
llama() {
    set_up llama build_llama || return 0
    arguments=("$target/clients/llama/logits" "$target/clients/llama")
    LD_LIBRARY_PATH=$target/clients/llama/cuda/lib client llama --compute-capability 13.0
}

# tinygrad: with both of its code generators. It looks for NVRTC and its headers by these variables.
tinygrad() {
    local cuda generator
    set_up tinygrad || return 0
    cuda=$(echo "$target"/clients/tinygrad/lib/python3*/site-packages/nvidia/cu13)
    for generator in CUDA CUDA:PTX; do
        (
            export DEV=$generator CUDA_PATH=$cuda CACHEDB=$target/clients/tinygrad.db LD_LIBRARY_PATH=$cuda/lib
            client tinygrad
        )
    done
}

# jax: XLA starts a ptxas for each kernel. Its own kernels hold PTX for 12.0 only; cuBLAS and cuDNN have it from 13.0 on.
jax() {
    local cuda=$target/clients/cuda
    mkdir -p "$cuda/bin"
    ln -sf "$bin_dir/vgpu" "$cuda/bin/ptxas"
    CUDA_ROOT=$cuda XLA_FLAGS=--xla_gpu_autotune_level=0 JAX_PLATFORMS=cuda,cpu JAX_SKIP_CUDA_CONSTRAINTS_CHECK=1 \
        TF_CPP_MIN_LOG_LEVEL=3 client jax --compute-capability 13.0
}

if [ "$whole" = --llama ]; then
    llama
    exit
fi

if [ "$whole" = --cudarc ]; then
    set_up bindings && build_cudarc
    exit
fi

client numba
[ ! -d "$target/clients/numba" ] || numba_suite
# CuPy compiles to PTX on request. Its own kernels hold PTX for 12.0 only, and cuRAND looks for PTX from 13.0 on.
export CUPY_COMPILE_WITH_PTX=1 CUPY_CACHE_DIR=$target/clients/cupy-cache
client cupy --compute-capability 13.0
jax
client bindings
cudart
cudarc
if set_up pycuda build_pycuda; then
    # Its kernels are compiled by nvcc, and it needs cuRAND's and the runtime's library to start.
    (
        export PATH=$nvcc_root/nvidia/cu13/bin:$PATH
        LD_LIBRARY_PATH=$(echo "$target"/clients/pycuda/lib/python3*/site-packages/nvidia/cu13/lib)
        export LD_LIBRARY_PATH=$LD_LIBRARY_PATH:$nvcc_root/nvidia/cu13/lib
        client pycuda
    )
fi
tinygrad
client taichi
# Warp makes machine code unless the driver is as new as its compiler.
WARP_CACHE_PATH=$target/clients/warp-cache client warp --cuda-version 13.4
if [ "$whole" = --all ]; then
    mkdir -p "$target/clients/gpt4all-models"
    arguments=("$target/clients/gpt4all-models")
    client gpt4all --compute-capability 13.0
fi
