// One op at one shape: its name, its cost, and how a set of buffers is made for it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "benchmarks/bench/device_set.h"
#include "kernels/core/cost.h"
#include "kernels/core/dtype.h"

namespace cloze::bench {

/// A dimension with its name in reports: "rows", "cols", "segments".
struct Size {
    const char* name;
    std::int64_t value;
};

/// A call of the op on one set of buffers.
struct Call {
    std::function<void(Stream)> run;
    std::function<void(Stream)> restore = {};  // puts back what run() overwrites; absent = nothing to put back
};

struct Case {
    std::string op;       // "layer_norm_forward"
    std::string variant;  // "bias, dropout 0.1, residual"; may be empty
    std::vector<Size> sizes;
    DType dtype;
    Cost cost;
    std::function<Call(DeviceSet&)> prepare;
};

/// The sizes of a model that its kernels see.
struct ModelSizes {
    std::int64_t hidden;
    std::int64_t intermediate;
    std::int64_t heads;
    std::int64_t layers;
    std::int64_t vocabulary;         // classes of the masked-LM head
    std::int64_t padded_vocabulary;  // width of its logits
};

inline constexpr ModelSizes kBertBase{768, 3072, 12, 12, 30522, 30528};
inline constexpr ModelSizes kBertLarge{1024, 4096, 16, 24, 30522, 30528};

/// Which cases there are.
struct CaseSettings {
    std::vector<ModelSizes> models{kBertBase, kBertLarge};
    std::vector<std::int64_t> tokens{8192, 16384, 65536};
    std::vector<std::int64_t> sequence_lengths{128, 512, 2048, 16384};  // of attention
    DType dtype = DType::bf16;
};

/// Rows of the masked-LM head: 15 % of the tokens, to a multiple of 8.
constexpr std::int64_t masked_rows(std::int64_t tokens) {
    return (tokens * 15 / 100 + 7) / 8 * 8;
}

std::vector<Case> activation_cases(const CaseSettings& settings);  // bias_gelu, bias_tanh
std::vector<Case> norm_cases(const CaseSettings& settings);        // layer_norm, embedding
std::vector<Case> head_cases(const CaseSettings& settings);        // rows, cross_entropy, column_sum
std::vector<Case> update_cases(const CaseSettings& settings);      // cast, gradient_norm, optimizer_update
std::vector<Case> attention_cases(const CaseSettings& settings);

/// All of the above, by op and variant.
std::vector<Case> kernel_cases(const CaseSettings& settings);

}  // namespace cloze::bench
