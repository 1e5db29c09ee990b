#!/bin/bash
# A driver of CUDA 12.0, which tells nothing about kernels' parameters: the layouts that are read from images are
# those that compilers make, and programs run. Prints `PASS name` or `FAIL name: reason` lines.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cuda=$nvcc_root/nvidia/cu13

# The kernels' parameters, offset and size, as their C types have them.
cat >"$folder/kernels.cu" <<'EOF'
struct Mixed { char a; short b; int c; };
struct alignas(16) Wide { float x[5]; };
template <int size> struct Bytes { char at[size]; };
extern "C" __global__ void none() {}
extern "C" __global__ void unused(int, long long, float) {}
extern "C" __global__ void mixed(char a, double b, short c, Mixed d, Wide e, int *to, bool f) {
    if (f) *to = a + int(b) + c + d.a + d.b + d.c + int(e.x[4]);
}
extern "C" __global__ void sizes(Bytes<1> a, Bytes<3> b, Bytes<7> c, Bytes<13> d, long long e, Bytes<5> f, int *to) {
    *to = a.at[0] + b.at[2] + c.at[6] + d.at[12] + int(e) + f.at[4];
}
extern "C" __global__ void large(Bytes<20001> a, int *to) { *to = a.at[*to % 20001]; }
EOF
cat >"$folder/expected" <<'EOF'
none
unused 0+4 8+8 16+4
mixed 0+1 8+8 16+2 20+8 32+32 64+8 72+1
sizes 0+1 1+3 4+7 11+13 24+8 32+5 40+8
large 0+20001 20008+8
missing unknown
EOF
# compiled_as NAME OPTION...: the layouts of an image that nvcc makes are right.
compiled_as() {
    local image=$folder/$1
    shift
    "$cuda/bin/nvcc" -I"$cuda/include" "$@" -o "$image" "$folder/kernels.cu" &&
        "$bin_dir/vgpu-layouts" "$image" none unused mixed sizes large missing | diff - "$folder/expected"
}
export bin_dir cuda folder
export -f compiled_as
layouts() { check "layouts/$1" bash -o pipefail -c 'compiled_as "$@"' compiled_as "$@"; }
layouts ptx -arch=compute_75 -ptx
for capability in 75 90 120; do
    layouts "sm_$capability" -arch="sm_$capability" -cubin
done
# Members of all kinds, packed.
layouts fatbin -fatbin -Xfatbin -compress-all -gencode arch=compute_80,code=sm_80 \
    -gencode 'arch=compute_100,code=[sm_100,compute_100]'

# The software GPU, with other names for functions that came after 12.0. The new names have the hashes of the old
# ones ("dT" that of "cu"), by which the library finds its own functions.
names=$(awk '$2 ~ /^[0-9]+$/ && $2 > 12000 { print substr($1, 3) }' "$repo/protocol/api/cuda.api" | paste -sd '|')
LC_ALL=C sed -z -E "s/^cu($names)\$/dT\1/" "$bin_dir/libcuda_soft.so" >"$folder/libcuda.so"
run="$bin_dir/vgpu run --gpu $folder/libcuda.so --"
for program in device_query vectorAdd matmul_tiled reduction histogram streams_events device_printf textures counter \
    graph_loop grid_sync; do
    check "older/$program" $run "$programs/$program"
done
for program in launch_forms launch_attributes graph_nodes graph_update library_kernels module_fatbin; do
    check "older/$program" $run "$conformance/$program"
done
