// The CUDA body: each call is one call of the runtime, checked.
#include <cstring>
#include <cuda.h>  // types alone: the driver is found at run time
#include <cuda_runtime.h>
#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define CLOZE_NVTX
#endif

#include "kernels/core/cuda_check.h"
#include "kernels/core/device_calls.h"
#include "kernels/core/tensor_map.h"

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
        fail(Fault::device, "out of device memory: ", bytes, " bytes asked for, ", free, " of ", total, " are free");
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

void* record_graph(Stream stream, const std::function<void()>& work) {
    // Relaxed: other threads of the caller may allocate meanwhile.
    check(cudaStreamBeginCapture(cuda(stream), cudaStreamCaptureModeRelaxed), "cudaStreamBeginCapture");
    cudaGraph_t graph = nullptr;
    try {
        work();
    } catch (...) {
        if (cudaStreamEndCapture(cuda(stream), &graph) == cudaSuccess) cudaGraphDestroy(graph);
        cudaGetLastError();  // the capture's: the caller hears of what broke it
        throw;
    }
    check(cudaStreamEndCapture(cuda(stream), &graph), "cudaStreamEndCapture");
    cudaGraphExec_t executable = nullptr;
    const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
    cudaGraphDestroy(graph);
    check(status, "cudaGraphInstantiate");
    return executable;
}
void destroy_graph(void* graph) noexcept {
    cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph));
}
void launch_graph(void* graph, Stream stream) {
    check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), cuda(stream)), "cudaGraphLaunch");
}

void open_range([[maybe_unused]] const char* name) {
#ifdef CLOZE_NVTX
    nvtxRangePushA(name);
#endif
}
void close_range() noexcept {
#ifdef CLOZE_NVTX
    nvtxRangePop();
#endif
}

const char* kind() {
    return "cuda";
}
namespace {

/// cuTensorMapEncodeTiled() of the driver that is loaded.
decltype(&cuTensorMapEncodeTiled) tensor_map_encoder(Where where) {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found = {};
    constexpr unsigned kSince = 12000;
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, kSince, cudaEnableDefault, &found),
          "tensor_map: cuTensorMapEncodeTiled", where);
    if (found != cudaDriverEntryPointSuccess || function == nullptr) {
        fail(Fault::device, "tensor_map: the NVIDIA driver has no cuTensorMapEncodeTiled; update it, at ", where.file,
             ":", where.line);
    }
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
}

}  // namespace

void encode_tensor_map(unsigned char* bytes, const BoxedMatrix& matrix, Where where) {
    static const auto encode = tensor_map_encoder(where);
    const cuuint64_t size[2] = {static_cast<cuuint64_t>(matrix.cols), static_cast<cuuint64_t>(matrix.rows)};
    const cuuint64_t stride[1] = {static_cast<cuuint64_t>(matrix.stride_bytes)};
    const cuuint32_t box[2] = {static_cast<cuuint32_t>(matrix.box_cols), static_cast<cuuint32_t>(matrix.box_rows)};
    const cuuint32_t every_element[2] = {1, 1};
    CUtensorMap map;
    const CUresult status = encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, matrix.address, size, stride, box,
                                   every_element, CU_TENSOR_MAP_INTERLEAVE_NONE,
                                   matrix.box_cols == 64 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B,
                                   CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (status != CUDA_SUCCESS) {
        fail(Fault::device, "tensor_map: cuTensorMapEncodeTiled refuses a matrix of ", matrix.rows, " x ", matrix.cols,
             " with rows ", matrix.stride_bytes, " bytes apart in boxes of ", matrix.box_rows, " x ", matrix.box_cols,
             " (CUresult ", static_cast<int>(status), "), at ", where.file, ":", where.line);
    }
    static_assert(sizeof(CUtensorMap) == sizeof(TensorMap) && alignof(CUtensorMap) <= alignof(TensorMap));
    std::memcpy(bytes, &map, sizeof map);
}

int count() {
    int devices = 0;
    return cudaGetDeviceCount(&devices) == cudaSuccess ? devices : 0;
}

std::int64_t free_bytes() {
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    return static_cast<std::int64_t>(free);
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
        if (driver == 0) fail(Fault::device, "no NVIDIA driver is on this machine; use --device cpu");
        fail(Fault::device, "the NVIDIA driver is older than the CUDA ", CUDART_VERSION / 1000, ".",
             CUDART_VERSION % 1000 / 10, " this build uses; update the driver, or use --device cpu");
    }
    if (status == cudaErrorNoDevice || (status == cudaSuccess && devices == 0)) {
        fail(Fault::device,
             "no NVIDIA GPU is visible: there is none, or CUDA_VISIBLE_DEVICES is empty or names none; use --device "
             "cpu");
    }
    check(status, "cudaGetDeviceCount");
    if (device < 0 || device >= devices) {
        fail(Fault::device, "device ", device, " does not exist: ", devices, devices == 1 ? " is" : " are",
             " visible, counted from 0 (CUDA_VISIBLE_DEVICES may hide others); use --device cuda:", devices - 1);
    }
    const cudaError_t opened = cudaSetDevice(device);
    if (opened == cudaErrorDevicesUnavailable) {
        fail(Fault::device, "device ", device,
             " is taken by another process that wants it alone; wait for that, or choose another with --device cuda:N");
    }
    if (opened == cudaErrorMemoryAllocation) {
        fail(
            Fault::device, "device ", device,
            " has no memory left to begin with: others fill it; wait for them, or choose another with --device cuda:N");
    }
    check(opened, "cudaSetDevice");
}

int current() {
    int device = 0;
    check(cudaGetDevice(&device), "cudaGetDevice");
    return device;
}

}  // namespace cloze::device_calls
