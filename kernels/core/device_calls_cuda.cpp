// The CUDA body: each call is one call of the runtime, checked.
#include <cuda_runtime.h>

#include "kernels/core/cuda_check.h"
#include "kernels/core/device_calls.h"

namespace cloze::device_calls {

namespace {

cudaStream_t cuda(Stream stream) {
    return static_cast<cudaStream_t>(stream.handle);
}
cudaEvent_t cuda_event(void* event) {
    return static_cast<cudaEvent_t>(event);
}

cudaMemcpyKind kind_of(Direction direction) {
    switch (direction) {
        case Direction::host_to_device: return cudaMemcpyHostToDevice;
        case Direction::device_to_host: return cudaMemcpyDeviceToHost;
        case Direction::device_to_device: return cudaMemcpyDeviceToDevice;
    }
    return cudaMemcpyDefault;
}

}  // namespace

void* allocate(std::int64_t bytes) {
    void* address = nullptr;
    const cudaError_t status = cudaMalloc(&address, static_cast<std::size_t>(bytes > 0 ? bytes : 1));
    if (status == cudaErrorMemoryAllocation) {
        cudaGetLastError();  // clears it: running out of memory does not spoil the context
        std::size_t free = 0, total = 0;
        check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
        fail(Fault::device, "out of device memory: ", bytes, " bytes asked for, ", free, " of ", total,
             " are free; use a smaller micro-batch");
    }
    check(status, "cudaMalloc");
    return address;
}
void release(void* address) noexcept {
    cudaFree(address);
}
void* allocate_pinned(std::int64_t bytes) {
    void* address = nullptr;
    check(cudaMallocHost(&address, static_cast<std::size_t>(bytes > 0 ? bytes : 1)), "cudaMallocHost");
    return address;
}
void release_pinned(void* address) noexcept {
    cudaFreeHost(address);
}

void copy(void* to, const void* from, std::int64_t bytes, Direction direction, Stream stream) {
    check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), kind_of(direction), cuda(stream)),
          "cudaMemcpyAsync");
}
void fill_bytes(void* to, std::uint8_t value, std::int64_t bytes, Stream stream) {
    check(cudaMemsetAsync(to, value, static_cast<std::size_t>(bytes), cuda(stream)), "cudaMemsetAsync");
}

void* create_stream() {
    cudaStream_t stream;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
    return stream;
}
void destroy_stream(void* stream) noexcept {
    cudaStreamDestroy(static_cast<cudaStream_t>(stream));
}
void wait(Stream stream) {
    check(cudaStreamSynchronize(cuda(stream)), "cudaStreamSynchronize");
}

void* create_event() {
    cudaEvent_t event;
    check(cudaEventCreate(&event), "cudaEventCreate");
    return event;
}
void destroy_event(void* event) noexcept {
    cudaEventDestroy(cuda_event(event));
}
void record(void* event, Stream stream) {
    check(cudaEventRecord(cuda_event(event), cuda(stream)), "cudaEventRecord");
}
void wait(void* event) {
    check(cudaEventSynchronize(cuda_event(event)), "cudaEventSynchronize");
}
void make_wait(Stream stream, void* event) {
    check(cudaStreamWaitEvent(cuda(stream), cuda_event(event)), "cudaStreamWaitEvent");
}
double seconds_between(void* first, void* second) {
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, cuda_event(first), cuda_event(second)), "cudaEventElapsedTime");
    return static_cast<double>(milliseconds) * 1e-3;
}

int count() {
    int devices = 0;
    return cudaGetDeviceCount(&devices) == cudaSuccess ? devices : 0;
}

DeviceInfo info(int device) {
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
    return {.name = properties.name,
            .compute_capability = properties.major * 10 + properties.minor,
            .multiprocessors = properties.multiProcessorCount,
            .shared_bytes_per_block = static_cast<int>(properties.sharedMemPerBlockOptin),
            .memory_bytes = static_cast<std::int64_t>(properties.totalGlobalMem)};
}

void use(int device) {
    int devices = 0, driver = 0;
    const cudaError_t status = cudaGetDeviceCount(&devices);
    if (status == cudaErrorInsufficientDriver) {  // also where there is none
        check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
        if (driver == 0) fail(Fault::device, "no NVIDIA driver is on this machine; use the host");
        fail(Fault::device, "the NVIDIA driver is older than the CUDA ", CUDART_VERSION / 1000, ".",
             CUDART_VERSION % 1000 / 10, " this build uses; update the driver, or use the host");
    }
    if (status == cudaErrorNoDevice || (status == cudaSuccess && devices == 0)) {
        fail(Fault::device, "no NVIDIA GPU is visible on this machine; use the host");
    }
    check(status, "cudaGetDeviceCount");
    require(device >= 0 && device < devices, "device ", device, " does not exist; this machine has 0 to ", devices - 1);
    check(cudaSetDevice(device), "cudaSetDevice");
}

}  // namespace cloze::device_calls
