// One set of a case's buffers on the device, and the random numbers in them. Never zeros: a device draws less power on
// zeros and so runs faster than on data. Run without a GPU by tests/benchmarks/bench_test.py, on the emulator.
#pragma once

#include <span>
#include <vector>

#include "kernels/core/device_memory.h"
#include "kernels/core/random_stream.h"
#include "kernels/core/tensor.h"

namespace cloze::bench {

struct Spread {
    double mean = 0;
    double deviation = 1;
};

/// A quarter of a million standard normal numbers, drawn once. Tensors take them from different places.
class Normals {
public:
    Normals();
    /// Elements of `dtype` (f32 or bf16), as bytes; at most the whole pattern.
    std::vector<std::uint8_t> take(DType dtype, std::int64_t count, Spread spread);

private:
    std::vector<float> values_;
    std::size_t next_ = 0;
};

class DeviceSet {
public:
    DeviceSet(Normals& normals, Stream stream) : normals_(normals), stream_(stream) {}

    /// Normal numbers; longer tensors repeat the pattern.
    Tensor random(DType dtype, std::int64_t rows, std::int64_t cols, Spread spread = {});
    Tensor random(DType dtype, std::int64_t cols, Spread spread = {}) { return random(dtype, 1, cols, spread); }
    /// Full of NaN.
    Tensor output(DType dtype, std::int64_t rows, std::int64_t cols);
    Tensor output(DType dtype, std::int64_t cols) { return output(dtype, 1, cols); }
    /// A copy of host values: [1, count].
    template <typename T>
    Tensor values(const std::vector<T>& host) {
        return upload(dtype_of<T>(), host.data(), static_cast<std::int64_t>(host.size()));
    }
    /// A copy of structs on the device.
    template <typename T>
    T* structs(std::span<const T> host) {
        return static_cast<T*>(upload(DType::u8, host.data(), static_cast<std::int64_t>(host.size_bytes())).address);
    }
    template <typename T>
    T* one(const T& host) {
        return structs(std::span<const T>(&host, 1));
    }

private:
    Tensor upload(DType dtype, const void* host, std::int64_t count);
    Tensor allocate(DType dtype, std::int64_t rows, std::int64_t cols);

    Normals& normals_;
    Stream stream_;
    std::vector<DeviceBuffer> buffers_;
};

}  // namespace cloze::bench
