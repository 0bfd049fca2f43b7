// Memory of a run, planned before it starts. An Arena holds named tensors for as long as it lives. It is used twice by
// the same code: first to measure, when tensors have a shape but no address, then bound, when they have both. So a
// plan's report and the run's memory cannot disagree.
//
//   Arena arena("activations");
//   const auto lay_out = [&] { return lay_out_activations(arena, config, capacity, DType::f32); };
//   lay_out();                             // measures
//   for (const auto& part : arena.report()) ...
//   arena.bind();                          // one allocation, zero-filled
//   Activations activations = lay_out();   // the same requests again, now with addresses
//
// An arena lies on the host or on a device. Every tensor starts at a multiple of kArenaAlignment bytes. Tested by
// tests/device/arena_test.cpp and tests/train/device_trainer_test.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/core/device_memory.h"
#include "kernels/core/tensor.h"

namespace cloze {

inline constexpr std::int64_t kArenaAlignment = 256;

/// "1.50 GiB", "12.0 KiB", "17 bytes".
std::string describe_bytes(std::int64_t bytes);

/// One block of host memory, aligned and zero-filled, in huge pages where the system offers them.
class HostBlock {
public:
    HostBlock() = default;
    /// Throws Fault::io, opening with `owner` and ending with `remedy`, when the machine has not that much memory.
    HostBlock(std::int64_t bytes, const std::string& owner, const std::string& remedy);

    char* data() const { return data_.get(); }

private:
    struct Free {
        void operator()(char* data) const;
    };
    std::unique_ptr<char, Free> data_;
};

/// One tensor of an arena, for plans and messages.
struct ArenaPart {
    std::string name;
    Tensor shape;         // without address while measuring
    std::int64_t offset;  // bytes from the start of the arena
    std::int64_t bytes;   // rounded up to kArenaAlignment
};

std::int64_t total_bytes(const std::vector<ArenaPart>& parts);

/// Named tensors that live as long as the arena. Moving an arena keeps their addresses.
class Arena {
public:
    /// `remedy` ends the message when there is not enough memory: what to lower, in the caller's terms.
    explicit Arena(std::string name, std::string remedy = "lower the tokens of a micro-batch or the size of the model",
                   Place place = Place::host);

    /// Measuring: records the request and returns its shape without an address. Bound: the next tensor of the plan;
    /// throws Fault::internal when the request is not the one that was measured at this place.
    Tensor tensor(const std::string& name, DType dtype, std::int64_t rows, std::int64_t cols);

    /// Ends measuring: allocates once, zero-filled. Requests then start again from the first. On a bound arena: starts
    /// again from the first request, keeping the contents. Throws Fault::io (host) or Fault::device when there is not
    /// so much memory, naming the largest tensor and the remedy.
    void bind();
    bool is_bound() const { return bound_; }
    /// Of a bound arena: every byte 0 again, in the order of `stream`.
    void clear(Stream stream);

    const std::string& name() const { return name_; }
    std::int64_t bytes() const { return bytes_; }
    const std::vector<ArenaPart>& report() const { return parts_; }

private:
    void* base() const;

    std::string name_;
    std::string remedy_;
    Place place_;
    std::vector<ArenaPart> parts_;
    std::int64_t bytes_ = 0;
    bool bound_ = false;
    std::size_t next_ = 0;  // of parts_, once bound
    HostBlock host_block_;  // one of the two, by place_
    DeviceBuffer device_block_;
};

}  // namespace cloze
