#include "engine/device/device_profile.h"

#include <algorithm>

#include "kernels/core/error.h"

namespace cloze {
namespace {

constexpr double kTera = 1e12;

/// A context of CUDA 13 with this project's kernels and cuBLASLt's takes 0.5 to 0.7 GB.
constexpr std::int64_t kContextBytes = std::int64_t{1} << 30;

/// Measured on an H200 on 2026-11-27 (benchmarks/results/h200_copy.json and h200_gemm.json; docs/performance.md): a
/// copy, and the mean of the products of BERT's layers.
constexpr double kMeasuredCopy = 4.19 * kTera;
constexpr double kMeasuredProducts = 725 * kTera;
constexpr double kStatedMemory = 4.8 * kTera;
constexpr double kStatedProducts = 989 * kTera;

/// A card of which only the vendor's figures are known: the H200's shares of its own are assumed.
DeviceProfile stated(const char* card, std::vector<std::string> names, std::int64_t mebibytes, double flops,
                     double bytes) {
    return {.card = card,
            .names = std::move(names),
            .memory_bytes = mebibytes << 20,
            .stated_flops_per_second = flops,
            .stated_bytes_per_second = bytes,
            .product_flops_per_second = flops * (kMeasuredProducts / kStatedProducts),
            .copy_bytes_per_second = bytes * (kMeasuredCopy / kStatedMemory),
            .measured = false};
}

DeviceProfile h200() {
    DeviceProfile profile = stated("h200", {"NVIDIA H200"}, 0, kStatedProducts, kStatedMemory);
    profile.memory_bytes = 150'109'880'320;
    profile.product_flops_per_second = kMeasuredProducts;
    profile.copy_bytes_per_second = kMeasuredCopy;
    profile.measured = true;
    return profile;
}

std::string known_cards() {
    std::string list;
    for (const DeviceProfile& profile : device_profiles()) list += (list.empty() ? "" : ", ") + profile.card;
    return list;
}

}  // namespace

std::int64_t DeviceProfile::usable_bytes() const {
    return std::max<std::int64_t>(0, memory_bytes - kContextBytes);
}

const std::vector<DeviceProfile>& device_profiles() {
    static const std::vector<DeviceProfile> profiles = {
        h200(),
        stated("h100", {"NVIDIA H100 80GB HBM3"}, 81'008, 989 * kTera, 3.35 * kTera),
        stated("h100-pcie", {"NVIDIA H100 PCIe"}, 81'008, 756 * kTera, 2.0 * kTera),
        stated("l40s", {"NVIDIA L40S"}, 45'400, 362 * kTera, 0.864 * kTera),
        stated("a100-80", {"NVIDIA A100-SXM4-80GB", "NVIDIA A100 80GB PCIe"}, 81'050, 312 * kTera, 2.039 * kTera),
        stated("a100-40", {"NVIDIA A100-SXM4-40GB", "NVIDIA A100-PCIE-40GB"}, 40'330, 312 * kTera, 1.555 * kTera),
        stated("rtx-4090", {"NVIDIA GeForce RTX 4090"}, 24'200, 165 * kTera, 1.008 * kTera),
        stated("rtx-3090", {"NVIDIA GeForce RTX 3090"}, 24'100, 71 * kTera, 0.936 * kTera),
    };
    return profiles;
}

const DeviceProfile& profile_of_card(const std::string& card) {
    for (const DeviceProfile& profile : device_profiles()) {
        if (profile.card == card) return profile;
    }
    fail(Fault::usage, "--card '", card, "' is unknown; use ", known_cards(), ", or --memory-gib");
}

std::optional<DeviceProfile> profile_of_device(const std::string& name) {
    for (const DeviceProfile& profile : device_profiles()) {
        if (std::find(profile.names.begin(), profile.names.end(), name) != profile.names.end()) return profile;
    }
    return std::nullopt;
}

}  // namespace cloze
