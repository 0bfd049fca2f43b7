#include "kernels/attention_path.h"

#include <atomic>

#include "kernels/core/device_body.h"
#include "kernels/core/device_info.h"

namespace cloze {

namespace {

constexpr int kNotForced = -1;

std::atomic<int> forced = kNotForced;

}  // namespace

AttentionPath attention_path(int compute_capability) {
    return kHasHopper && compute_capability == 90 ? AttentionPath::hopper : AttentionPath::portable;
}

AttentionPath chosen_attention_path() {
    const int path = forced;
    if (path != kNotForced) return static_cast<AttentionPath>(path);
    return attention_path(current_device().compute_capability);
}

void force_attention_path(std::optional<AttentionPath> path) {
    forced = path ? static_cast<int>(*path) : kNotForced;
}

}  // namespace cloze
