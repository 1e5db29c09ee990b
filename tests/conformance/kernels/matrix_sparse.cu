// Sparse matrix multiplications of a warp: each lane loads its registers, multiplies and stores the result.

#define SPARSE2(name, opcode, selector)                                                                              \
    extern "C" __global__ void name##_##selector(const uint2 *a, const uint2 *b, const uint4 *c, uint4 *d,           \
                                                 const unsigned *metadata) {                                         \
        uint2 x = a[threadIdx.x], y = b[threadIdx.x];                                                                \
        uint4 z = c[threadIdx.x];                                                                                    \
        asm("mma.sp.sync.aligned." opcode " {%0, %1, %2, %3}, {%4, %5}, {%6, %7}, {%0, %1, %2, %3}, %8, " #selector  \
            ";"                                                                                                      \
            : "+r"(z.x), "+r"(z.y), "+r"(z.z), "+r"(z.w)                                                             \
            : "r"(x.x), "r"(x.y), "r"(y.x), "r"(y.y), "r"(metadata[threadIdx.x]));                                   \
        d[threadIdx.x] = z;                                                                                          \
    }

#define SPARSE4(name, opcode, selector)                                                                              \
    extern "C" __global__ void name##_##selector(const uint4 *a, const uint4 *b, const uint4 *c, uint4 *d,           \
                                                 const unsigned *metadata) {                                         \
        uint4 x = a[threadIdx.x], y = b[threadIdx.x], z = c[threadIdx.x];                                            \
        asm("mma.sp.sync.aligned." opcode " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9, %10, %11}, "                \
            "{%0, %1, %2, %3}, %12, " #selector ";"                                                                  \
            : "+r"(z.x), "+r"(z.y), "+r"(z.z), "+r"(z.w)                                                             \
            : "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w), "r"(y.x), "r"(y.y), "r"(y.z), "r"(y.w),                        \
              "r"(metadata[threadIdx.x]));                                                                           \
        d[threadIdx.x] = z;                                                                                          \
    }

SPARSE2(f16_k16, "m16n8k16.row.col.f32.f16.f16.f32", 0)
SPARSE2(f16_k16, "m16n8k16.row.col.f32.f16.f16.f32", 1)
SPARSE2(f16_k16, "m16n8k16.row.col.f32.f16.f16.f32", 2)
SPARSE2(f16_k16, "m16n8k16.row.col.f32.f16.f16.f32", 3)
SPARSE4(f16_k32, "m16n8k32.row.col.f32.f16.f16.f32", 0)
SPARSE4(f16_k32, "m16n8k32.row.col.f32.f16.f16.f32", 1)
SPARSE2(tf32_k8, "m16n8k8.row.col.f32.tf32.tf32.f32", 0)
SPARSE2(tf32_k8, "m16n8k8.row.col.f32.tf32.tf32.f32", 1)
SPARSE2(tf32_k8, "m16n8k8.row.col.f32.tf32.tf32.f32", 2)
SPARSE2(tf32_k8, "m16n8k8.row.col.f32.tf32.tf32.f32", 3)
SPARSE4(tf32_k16, "m16n8k16.row.col.f32.tf32.tf32.f32", 0)
SPARSE4(tf32_k16, "m16n8k16.row.col.f32.tf32.tf32.f32", 1)
SPARSE2(s8_k32, "m16n8k32.row.col.s32.s8.s8.s32", 0)
SPARSE2(s8_k32, "m16n8k32.row.col.s32.s8.s8.s32", 1)
SPARSE4(s8_k64, "m16n8k64.row.col.s32.s8.s8.s32", 0)
SPARSE2(s4_k64, "m16n8k64.row.col.s32.s4.s4.s32", 0)
SPARSE2(s4_k64, "m16n8k64.row.col.s32.s4.s4.s32", 1)
SPARSE4(s4_k128, "m16n8k128.row.col.s32.s4.s4.s32", 0)
