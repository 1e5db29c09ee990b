// Thrust and CUB on the device: sort, scan, reduction by key, selection, histogram and run lengths,
// each compared with the standard library.
#include <algorithm>
#include <numeric>
#include <vector>

#include <cub/device/device_histogram.cuh>
#include <cub/device/device_run_length_encode.cuh>
#include <cub/device/device_select.cuh>
#include <thrust/device_vector.h>
#include <thrust/reduce.h>
#include <thrust/scan.h>
#include <thrust/sort.h>

#include "check.h"

static int failures;

template <typename T>
static void expect(const char *what, const thrust::device_vector<T> &actual, const std::vector<T> &wanted) {
    std::vector<T> got(wanted.size());
    thrust::copy(actual.begin(), actual.begin() + wanted.size(), got.begin());
    bool equal = actual.size() >= wanted.size() && got == wanted;
    std::printf("%s: %s\n", what, equal ? "ok" : "wrong");
    failures += !equal;
}

// Runs a CUB algorithm twice: for the size of its temporary memory, and with it.
template <typename Algorithm>
static void with_storage(Algorithm algorithm) {
    size_t bytes = 0;
    CUDA_CHECK(algorithm(nullptr, bytes));
    thrust::device_vector<unsigned char> storage(bytes);
    CUDA_CHECK(algorithm(thrust::raw_pointer_cast(storage.data()), bytes));
}

struct IsOdd {
    __host__ __device__ bool operator()(int value) const { return value & 1; }
};

int main() {
    const int n = 20000;
    std::vector<int> values(n);
    unsigned state = 7;
    for (int &value : values) value = (state = state * 1664525u + 1013904223u) >> 20;
    const thrust::device_vector<int> input = values;

    std::vector<int> sorted = values, order(n);
    std::stable_sort(sorted.begin(), sorted.end());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return values[a] < values[b]; });
    thrust::device_vector<int> keys = input, places = std::vector<int>(n);
    for (int i = 0; i < n; i++) sorted[i] = values[order[i]];
    thrust::sequence(places.begin(), places.end());
    thrust::stable_sort_by_key(keys.begin(), keys.end(), places.begin());
    expect("stable_sort_by_key, keys", keys, sorted);
    expect("stable_sort_by_key, values", places, order);

    thrust::device_vector<int> down = input;
    thrust::sort(down.begin(), down.end(), [] __device__(int a, int b) { return a % 100 != b % 100 ? a % 100 > b % 100 : a > b; });
    std::vector<int> wanted = values;
    std::sort(wanted.begin(), wanted.end(), [](int a, int b) { return a % 100 != b % 100 ? a % 100 > b % 100 : a > b; });
    expect("sort by comparison", down, wanted);

    thrust::device_vector<int> sums(n);
    thrust::exclusive_scan(input.begin(), input.end(), sums.begin(), 5);
    wanted.assign(n, 5);
    for (int i = 1; i < n; i++) wanted[i] = wanted[i - 1] + values[i - 1];
    expect("exclusive_scan", sums, wanted);

    thrust::device_vector<int> unique(n), totals(n);
    auto ends = thrust::reduce_by_key(keys.begin(), keys.end(), places.begin(), unique.begin(), totals.begin());
    std::vector<int> unique_wanted, totals_wanted;
    for (int i = 0; i < n; i++) {
        if (i == 0 || sorted[i] != sorted[i - 1]) unique_wanted.push_back(sorted[i]), totals_wanted.push_back(0);
        totals_wanted.back() += order[i];
    }
    failures += ends.first - unique.begin() != (long)unique_wanted.size();
    expect("reduce_by_key, keys", unique, unique_wanted);
    expect("reduce_by_key, values", totals, totals_wanted);

    const int *in = thrust::raw_pointer_cast(input.data());
    thrust::device_vector<int> chosen(n), count(1);
    with_storage([&](void *storage, size_t &bytes) {
        return cub::DeviceSelect::If(storage, bytes, in, thrust::raw_pointer_cast(chosen.data()),
                                     thrust::raw_pointer_cast(count.data()), n, IsOdd());
    });
    wanted.clear();
    std::copy_if(values.begin(), values.end(), std::back_inserter(wanted), IsOdd());
    expect("DeviceSelect::If", chosen, wanted);
    expect("DeviceSelect::If, count", count, {(int)wanted.size()});

    const int bins = 64;
    thrust::device_vector<int> histogram(bins);
    with_storage([&](void *storage, size_t &bytes) {
        return cub::DeviceHistogram::HistogramEven(storage, bytes, in, thrust::raw_pointer_cast(histogram.data()),
                                                   bins + 1, 0, 4096, n);
    });
    wanted.assign(bins, 0);
    for (int value : values) wanted[value * bins / 4096]++;
    expect("DeviceHistogram::HistogramEven", histogram, wanted);

    thrust::device_vector<int> lengths(n);
    with_storage([&](void *storage, size_t &bytes) {
        return cub::DeviceRunLengthEncode::Encode(storage, bytes, thrust::raw_pointer_cast(keys.data()),
                                                  thrust::raw_pointer_cast(unique.data()),
                                                  thrust::raw_pointer_cast(lengths.data()),
                                                  thrust::raw_pointer_cast(count.data()), n);
    });
    wanted.assign(unique_wanted.size(), 0);
    for (size_t i = 0, run = 0; i < sorted.size(); i++) {
        if (i && sorted[i] != sorted[i - 1]) run++;
        wanted[run]++;
    }
    expect("DeviceRunLengthEncode::Encode", lengths, wanted);

    failures += thrust::reduce(input.begin(), input.end(), 0, thrust::maximum<int>()) != sorted.back();
    return verdict(failures == 0, "cub_thrust");
}
