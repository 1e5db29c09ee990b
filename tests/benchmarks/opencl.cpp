// Runs the kernels of kernels.cl on PoCL.
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <cstdio>
#include <cstring>

static cl_context context;
static cl_command_queue queue;
static cl_program program;

extern "C" {

// Compiles a source; gives what went wrong, or null.
const char *opencl_start(const char *source) {
    static char message[4096];
    cl_platform_id platforms[8];
    cl_uint count = 0;
    clGetPlatformIDs(8, platforms, &count);
    for (cl_uint i = 0; i < count; i++) {
        char name[128] = "";
        clGetPlatformInfo(platforms[i], CL_PLATFORM_NAME, sizeof name, name, nullptr);
        cl_device_id device;
        if (!strstr(name, "Portable Computing Language") ||
            clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_CPU, 1, &device, nullptr) != CL_SUCCESS)
            continue;
        cl_int error;
        context = clCreateContext(nullptr, 1, &device, nullptr, nullptr, &error);
        queue = clCreateCommandQueue(context, device, 0, &error);
        program = clCreateProgramWithSource(context, 1, &source, nullptr, &error);
        if (clBuildProgram(program, 1, &device, "-cl-std=CL1.2", nullptr, nullptr) == CL_SUCCESS) return nullptr;
        clGetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_LOG, sizeof message, message, nullptr);
        return message;
    }
    return "no PoCL";
}

// A kernel with its arguments: memory of this process where `bytes` is not 0, else a word. Null if there is none.
void *opencl_kernel(const char *name, int count, const unsigned long long *args, const size_t *bytes) {
    cl_int error;
    cl_kernel kernel = clCreateKernel(program, name, &error);
    if (error != CL_SUCCESS) return nullptr;
    for (int i = 0; i < count; i++) {
        if (bytes[i] == 0) {
            error |= clSetKernelArg(kernel, i, 4, &args[i]);
            continue;
        }
        cl_int made;
        cl_mem memory =
            clCreateBuffer(context, CL_MEM_USE_HOST_PTR | CL_MEM_READ_WRITE, bytes[i], (void *)args[i], &made);
        error |= made | clSetKernelArg(kernel, i, sizeof memory, &memory);
    }
    return error == CL_SUCCESS ? kernel : nullptr;
}

// Runs it to its end; 0 if that works.
int opencl_run(void *kernel, const unsigned *grid, const unsigned *block) {
    size_t global[3], local[3];
    for (int i = 0; i < 3; i++) global[i] = (size_t)grid[i] * block[i], local[i] = block[i];
    cl_int error = clEnqueueNDRangeKernel(queue, (cl_kernel)kernel, 3, nullptr, global, local, 0, nullptr, nullptr);
    return error ? error : clFinish(queue);
}
}
