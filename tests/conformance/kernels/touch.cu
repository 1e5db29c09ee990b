// One load or store at an address.

extern "C" __global__ void load(unsigned *out, const unsigned *address) {
    *out = *(const volatile unsigned *)address;
}

extern "C" __global__ void store(unsigned *address, unsigned value) {
    *(volatile unsigned *)address = value;
}
