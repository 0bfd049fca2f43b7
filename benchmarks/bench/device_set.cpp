#include "benchmarks/bench/device_set.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

namespace cloze::bench {

namespace {

// No multiple of a row's length, so that rows differ; its bytes are a multiple of 16, so that copies of it are fast.
constexpr std::size_t kPatternElements = (1 << 18) - 8;

}  // namespace

Normals::Normals() : values_(kPatternElements) {
    RandomStream random({.seed = 1, .purpose = RandomPurpose::initialization});
    for (std::size_t i = 0; i < kPatternElements; i += 2) {
        // Box and Muller; 1 - uniform is above 0.
        const float radius = std::sqrt(-2.0f * std::log(1.0f - random.uniform()));
        const float angle = 2.0f * std::numbers::pi_v<float> * random.uniform();
        values_[i] = radius * std::cos(angle);
        values_[i + 1] = radius * std::sin(angle);
    }
}

std::vector<std::uint8_t> Normals::take(DType dtype, std::int64_t count, Spread spread) {
    require(dtype == DType::f32 || dtype == DType::bf16, "random tensors are f32 or bf16, not ", name_of(dtype));
    const std::size_t elements = std::min(kPatternElements, static_cast<std::size_t>(count));
    const auto element_bytes = static_cast<std::size_t>(size_of(dtype));
    std::vector<std::uint8_t> bytes(elements * element_bytes);
    for (std::size_t i = 0; i < elements; ++i) {
        const float value =
            static_cast<float>(spread.mean + spread.deviation * values_[(next_ + i) % kPatternElements]);
        if (dtype == DType::f32) {
            std::memcpy(&bytes[i * element_bytes], &value, element_bytes);
        } else {
            const bf16 rounded(value);
            std::memcpy(&bytes[i * element_bytes], &rounded, element_bytes);
        }
    }
    next_ = (next_ + elements / 2 + 1) % kPatternElements;
    return bytes;
}

Tensor DeviceSet::allocate(DType dtype, std::int64_t rows, std::int64_t cols) {
    buffers_.emplace_back(rows * cols * size_of(dtype));
    return buffers_.back().tensor(dtype, rows, cols);
}

Tensor DeviceSet::random(DType dtype, std::int64_t rows, std::int64_t cols, Spread spread) {
    const Tensor tensor = allocate(dtype, rows, cols);
    const std::vector<std::uint8_t> pattern = normals_.take(dtype, tensor.count(), spread);
    const std::int64_t bytes = tensor.count() * size_of(dtype);
    auto filled = static_cast<std::int64_t>(pattern.size());
    auto* start = static_cast<std::uint8_t*>(tensor.address);
    copy_to_device(start, pattern.data(), filled, stream_);
    while (filled < bytes) {
        const std::int64_t more = std::min(filled, bytes - filled);
        copy_on_device(start + filled, start, more, stream_);
        filled += more;
    }
    wait(stream_);
    return tensor;
}

Tensor DeviceSet::output(DType dtype, std::int64_t rows, std::int64_t cols) {
    const Tensor tensor = allocate(dtype, rows, cols);
    fill_bytes(tensor.address, 0xff, tensor.count() * size_of(dtype), stream_);
    return tensor;
}

Tensor DeviceSet::upload(DType dtype, const void* host, std::int64_t count) {
    const Tensor tensor = allocate(dtype, 1, count);
    copy_to_device(tensor.address, host, count * size_of(dtype), stream_);
    wait(stream_);
    return tensor;
}

}  // namespace cloze::bench
