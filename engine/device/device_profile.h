// How fast known GPUs are, so that time can be planned without one and measured time be seen as a share of what the
// GPU can do. Tested by tests/device/device_profile_test.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace cloze {

struct DeviceProfile {
    std::string card;                 // as a command line names it: "h200"
    std::vector<std::string> names;   // as the driver names it
    std::int64_t memory_bytes;        // as the driver reports it
    double stated_flops_per_second;   // the vendor's figure for dense bf16 products with sums in f32
    double stated_bytes_per_second;   // the vendor's figure for memory
    double product_flops_per_second;  // of large matrix products: measured, or the stated figure times the H200's share
    double copy_bytes_per_second;     // read and written by a copy: likewise
    bool measured;

    /// What a process can fill: the driver keeps a part for the context, the code and the library of products.
    std::int64_t usable_bytes() const;
};

/// By falling speed.
const std::vector<DeviceProfile>& device_profiles();

/// By the name of a card; throws Fault::usage for an unknown one, listing the known ones.
const DeviceProfile& profile_of_card(const std::string& card);

/// By the driver's name; nothing for a device that is not in the list.
std::optional<DeviceProfile> profile_of_device(const std::string& name);

}  // namespace cloze
