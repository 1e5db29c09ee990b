// Sparse matrix multiplications of a warp (mma.sp): where elements and metadata are in its registers.
#include "check.h"

enum { M = 16, N = 8, LANES = 32, MOST_K = 128 };

// Types by their bits: s4, s8, f16 and tf32. One lane of four has the metadata if there are four selectors.
static const struct shape {
    const char *name;
    int bits, k, selectors;
} shapes[] = {{"f16_k16", 16, 16, 4}, {"f16_k32", 16, 32, 2}, {"tf32_k8", 32, 8, 4}, {"tf32_k16", 32, 16, 2},
              {"s8_k32", 8, 32, 2},   {"s8_k64", 8, 64, 1},   {"s4_k64", 4, 64, 2},  {"s4_k128", 4, 128, 1}};

static unsigned random_bits(void) {
    static unsigned state = 1;
    return (state = state * 1664525 + 1013904223) >> 8;
}

static int small(void) { return (int)(random_bits() % 7) - 3; }

static unsigned float_bits(int value) {
    float number = (float)value;
    unsigned bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

// A number from -3 to 3.
static unsigned encode(int bits, int value) {
    static const unsigned halves[] = {0xc200, 0xc000, 0xbc00, 0, 0x3c00, 0x4000, 0x4200};
    return bits == 32 ? float_bits(value) : bits == 16 ? halves[value + 3] : (unsigned)value & ((1u << bits) - 1);
}

static int multiplied(CUmodule module, const struct shape *shape, int selector, CUdeviceptr memory) {
    static struct {
        unsigned a[LANES * 4], b[LANES * 4], c[LANES * 4], d[LANES * 4], metadata[LANES];
    } warp;
    static int a[M][MOST_K], b[MOST_K][N];
    int bits = shape->bits, per = 32 / bits, k = shape->k, registers = k / 2 / (2 * per);
    // Elements of a chunk, chunks of a row, and lanes of four that have metadata.
    int chunk = bits == 4 ? 8 : bits == 32 ? 2 : 4, chunks = k / chunk, holders = 4 / shape->selectors;
    memset(&warp, 0, sizeof warp);
    memset(a, 0, sizeof a);
    for (int lane = 0; lane < LANES; lane++)
        if (lane % 4 / holders != selector)
            warp.metadata[lane] = random_bits();
    for (int row = 0; row < M; row++)
        for (int number = 0; number < chunks; number++) {
            // Two of four, in ascending order; of 32-bit elements the halves of one.
            unsigned first = random_bits() % 3, second = first + 1 + random_bits() % (3 - first);
            if (bits == 32)
                second = (first = first % 2 * 2) + 1;
            int kept = number * chunk / 2;
            for (int half = 0; half < chunk / 2; half++, kept++) {
                int at = bits == 32  ? (int)first / 2
                         : bits == 4 ? (int)(half < 2 ? first : second) * 2 + half % 2
                                     : (int)(half ? second : first);
                int value = a[row][number * chunk + at] = small();
                int lane = row % 8 * 4 + kept / per % 4, index = kept / (4 * per) * 2 + row / 8;
                warp.a[lane * registers + index] |= encode(bits, value) << kept % per * bits;
            }
            int lane = row % 8 * 4 + selector * holders, shift;
            if (bits >= 16) {
                lane += number / 4;
                shift = row / 8 * 16 + number % 4 * 4;
            } else {
                lane += row / 8 + number / 8 * 2;
                shift = number % 8 * 4;
            }
            warp.metadata[lane] |= (first | second << 2) << shift;
        }
    for (int row = 0; row < k; row++)
        for (int column = 0; column < N; column++) {
            int value = b[row][column] = small();
            int lane = column * 4 + row / per % 4, index = row / (4 * per);
            warp.b[lane * registers + index] |= encode(bits, value) << row % per * bits;
        }
    for (int i = 0; i < LANES * 4; i++)
        warp.c[i] = bits >= 16 ? float_bits(i) : (unsigned)i;
    NEED(cuMemcpyHtoD(memory, &warp, sizeof warp));
    CUdeviceptr parts[5];
    for (size_t i = 0; i < 5; i++)
        parts[i] = memory + i * sizeof warp.a;
    void *params[] = {&parts[0], &parts[1], &parts[2], &parts[3], &parts[4]};
    char name[32];
    snprintf(name, sizeof name, "%s_%d", shape->name, selector);
    NEED(cuLaunchKernel(kernel(module, name), 1, 1, 1, LANES, 1, 1, 0, NULL, params, NULL));
    NEED(cuMemcpyDtoH(&warp, memory, sizeof warp));
    int right = 1;
    for (int row = 0; row < M; row++)
        for (int column = 0; column < N; column++) {
            int index = (row % 8 * 4 + column / 2) * 4 + row / 8 * 2 + column % 2, sum = index;
            for (int i = 0; i < k; i++)
                sum += a[row][i] * b[i][column];
            right &= warp.d[index] == (bits >= 16 ? float_bits(sum) : (unsigned)sum);
        }
    return right;
}

int main(void) {
    start();
    if (device_attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) < 8) {
        SKIP("multiplied", "it needs compute capability 8.0");
        return finish();
    }
    CUmodule module = load("matrix_sparse");
    CUdeviceptr memory;
    NEED(cuMemAlloc(&memory, 1 << 16));
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int selector = 0; selector < shapes[i].selectors; selector++) {
            char name[32];
            snprintf(name, sizeof name, "%s_%d", shapes[i].name, selector);
            CHECK(name, multiplied(module, &shapes[i], selector, memory));
        }
    NEED(cuMemFree(memory));
    return finish();
}
