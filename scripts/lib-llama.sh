# How llama.cpp is compiled here, from the source that crates.io carries. Source it after lib.sh.

llama_client=$repo/tests/clients/llama

# llama_prepare PLACE: in PLACE, the tools of its requirements.txt, the source, and the CUDA toolkit, which
# CMake wants in one folder.
llama_prepare() {
    local place=$1 cuda=$1/cuda library
    python3 -c 'import ensurepip' 2>/dev/null || install_packages python3-venv
    rm -rf "$place"
    python3 -m venv "$place"
    "$place/bin/pip" install --quiet --disable-pip-version-check -r "$llama_client/requirements.txt"
    cp -a "$nvcc_root/nvidia/cu13" "$cuda"
    cp -a "$place"/lib/python3*/site-packages/nvidia/cu13/. "$cuda"
    for library in cublas cublasLt cudart; do ln -sf "lib$library.so.13" "$cuda/lib/lib$library.so"; done
    mkdir "$cuda/lib/stubs"
    ln -s "$bin_dir/libcuda.so" "$cuda/lib/stubs/libcuda.so"
    ln -s lib "$cuda/lib64"
    cargo vendor --locked --manifest-path "$llama_client/Cargo.toml" "$place/vendor"
    mv "$place/vendor/llama-cpp-sys-2/llama.cpp" "$place/source"
    rm -r "$place/vendor"
}

# llama_compile PLACE ARCHITECTURES OPTION...: its libraries in PLACE/build/bin, with kernels for these
# architectures (see CMAKE_CUDA_ARCHITECTURES) and with CMake's further options.
llama_compile() {
    local place=$1 architectures=$2 cuda=$1/cuda
    shift 2
    PATH=$place/bin:$cuda/bin:$PATH cmake -S "$place/source" -B "$place/build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
        -DGGML_CUDA=ON -DGGML_CUDA_NCCL=OFF -DCMAKE_CUDA_ARCHITECTURES="$architectures" \
        -DCUDAToolkit_ROOT="$cuda" -DCMAKE_CUDA_COMPILER="$cuda/bin/nvcc" -DCMAKE_CUDA_FLAGS="-I$cuda/include/cccl" \
        -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_APP=OFF "$@"
    PATH=$place/bin:$cuda/bin:$PATH cmake --build "$place/build" --target llama
}

# llama_program PLACE SOURCE RUNPATH: the C++ program beside its source's name in PLACE, linked with those libraries.
llama_program() {
    local place=$1
    g++ -std=c++17 -O2 -Wall -Wextra -I"$place/source/include" -I"$place/source/ggml/include" \
        -o "$place/$(basename "$2" .cpp)" "$2" -L"$place/build/bin" -lllama -lggml -lggml-base \
        -Wl,--allow-shlib-undefined -Wl,-rpath,"$3"
}
