// Attention's kernels meet no bank conflict in shared memory, and their bulk traffic moves whole sectors.
#include "kernels/attention.h"
#include "tests/emulator/access_counts.h"
#include "tests/emulator/emulator.h"
#include "tests/kernels/device/device_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

/// Forward and backward of one sequence.
void run(std::int64_t length, std::int64_t head_dim) {
    const std::int64_t heads = 1, hidden = heads * head_dim;
    Array host_offset(DType::i32, 2), host_sample(DType::u64, 1);
    host_offset.set(0, 0);
    host_offset.set(1, static_cast<double>(length));
    host_sample.set(0, 5);
    const DeviceArray qkv(random_array(DType::bf16, length, 3 * hidden, 1)),
        dy(random_array(DType::bf16, length, hidden, 2)), y(DType::bf16, length, hidden),
        log_sum_exp(DType::f32, heads, length), dqkv(DType::bf16, length, 3 * hidden), offset(host_offset),
        sample(host_sample), scratch(DType::f32, attention_backward_scratch(length, heads, head_dim));
    const DeviceVector<StepState> state(std::vector<StepState>{{}});
    const AttentionDropout dropout{0.1, 1, state.data(), sample.tensor()};
    attention_forward({.y = y.tensor(),
                       .log_sum_exp = log_sum_exp.tensor(),
                       .qkv = qkv.tensor(),
                       .offset = offset.tensor(),
                       .heads = heads,
                       .visible = Visible::all,
                       .dropout = dropout},
                      {});
    attention_backward({.dqkv = dqkv.tensor(),
                        .scratch = scratch.tensor(),
                        .dy = dy.tensor(),
                        .y = y.tensor(),
                        .log_sum_exp = log_sum_exp.tensor(),
                        .qkv = qkv.tensor(),
                        .offset = offset.tensor(),
                        .heads = heads,
                        .visible = Visible::all,
                        .dropout = dropout},
                       {});
}

}  // namespace

TEST_CASE("attention meets no bank conflicts and moves few bytes besides those it needs") {
    for (const std::int64_t head_dim : {32, 64}) {
        emulated::clear_access_counts();
        emulated::settings().count_accesses = true;
        run(160, head_dim);
        emulated::settings().count_accesses = false;
        std::int64_t moved = 0, needed = 0;
        for (const emulated::AccessCount& count : emulated::access_counts()) {
            INFO(count.place << ": " << count.moved << " for " << count.needed << " in " << count.accesses);
            if (count.shared) {
                CHECK(count.moved == count.needed);
            } else {
                moved += count.moved;
                needed += count.needed;
            }
        }
        CHECK(static_cast<double>(moved) <= 1.1 * static_cast<double>(needed));
    }
}
