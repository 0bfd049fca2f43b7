// The few calls by which the host commands a device: the seam between Cloze and CUDA. Three bodies, one per build:
// device_calls_cuda.cpp, device_calls_none.cpp (whatever needs a device ends with Fault::device), and the emulator's
// under tests/emulator. Used by device_memory, stream, graph, tensor_map, named_range and device_info; everything else
// uses those.
#pragma once

#include <cstdint>
#include <functional>

#include "kernels/core/device_info.h"
#include "kernels/core/error.h"
#include "kernels/core/stream.h"

namespace cloze::device_calls {

enum class Direction { host_to_device, device_to_host, device_to_device };

void* allocate(std::int64_t bytes);
void release(void* address) noexcept;
void* allocate_pinned(std::int64_t bytes);
void release_pinned(void* address) noexcept;

void copy(void* to, const void* from, std::int64_t bytes, Direction direction, Stream stream);
void fill_bytes(void* to, std::uint8_t value, std::int64_t bytes, Stream stream);

void* create_stream();
void destroy_stream(void* stream) noexcept;
void wait(Stream stream);

void* create_event();
void destroy_event(void* event) noexcept;
void record(void* event, Stream stream);
void wait(void* event);
void make_wait(Stream stream, void* event);
double seconds_between(void* first, void* second);

void* record_graph(Stream stream, const std::function<void()>& work);
void destroy_graph(void* graph) noexcept;
void launch_graph(void* graph, Stream stream);

/// Ranges that a profiler shows; the last one opened is closed first.
void open_range(const char* name);
void close_range() noexcept;

/// A bf16 matrix and its boxes, as tensor_map() has checked them.
struct BoxedMatrix {
    void* address;
    std::int64_t rows;
    std::int64_t cols;
    std::int64_t stride_bytes;
    int box_rows;
    int box_cols;  // 64: swizzled by 128 bytes, 32: by 64
};
/// Writes the bytes of a TensorMap.
void encode_tensor_map(unsigned char* bytes, const BoxedMatrix& matrix, Where where);

const char* kind();
int count();
DeviceInfo info(int device);
std::int64_t free_bytes();
void use(int device);
int current();

}  // namespace cloze::device_calls
