#include "engine/train/step_cost.h"

#include <algorithm>
#include <cmath>

#include "engine/device/device_gemm.h"
#include "kernels/attention.h"
#include "kernels/bias_gelu.h"
#include "kernels/bias_tanh.h"
#include "kernels/cast.h"
#include "kernels/column_sum.h"
#include "kernels/cross_entropy.h"
#include "kernels/embedding.h"
#include "kernels/layer_norm.h"
#include "kernels/norm.h"
#include "kernels/optimizer_update.h"
#include "kernels/rows.h"

namespace cloze {
namespace {

Cost times(Cost cost, std::int64_t count) {
    return {cost.bytes * count, cost.flops * count};
}

/// Sums by op, in the order of their first calls. Everything is counted `repeats` times.
class Tally {
public:
    explicit Tally(DType working) : working_(working), statistics_(statistics_dtype(working)) {}

    void repeat(std::int64_t repeats) { repeats_ = repeats; }
    void add(const std::string& op, const Cost& cost, bool product = false) {
        auto found = std::find_if(ops_.begin(), ops_.end(), [&](const OpCost& known) { return known.op == op; });
        if (found == ops_.end())
            found = ops_.insert(ops_.end(), {.op = op, .calls = 0, .cost = {}, .product = product});
        found->calls += repeats_;
        found->cost = found->cost + times(cost, repeats_);
    }
    /// d [m, n] = a [m, k] b [k, n] in the working type.
    void product(std::int64_t m, std::int64_t n, std::int64_t k, bool adds = false) {
        multiply(m, n, k, working_, adds);
    }
    /// A linear layer's backward, [rows, in] to [rows, out]: of its weight and of its input.
    void product_backward(std::int64_t rows, std::int64_t out, std::int64_t in, bool accumulate, bool adds = false) {
        multiply(out, in, rows, statistics_, accumulate);
        product(rows, in, out, adds);
    }
    std::vector<OpCost> take() { return std::move(ops_); }

private:
    void multiply(std::int64_t m, std::int64_t n, std::int64_t k, DType out, bool adds) {
        const Cost cost{.bytes = (m * k + k * n) * size_of(working_) + m * n * size_of(out) * (adds ? 2 : 1),
                        .flops = 2 * m * n * k};
        add(product_name(m, n, k, out), cost, true);
    }

    DType working_, statistics_;
    std::int64_t repeats_ = 1;
    std::vector<OpCost> ops_;
};

/// The numbers that shapes are made of, in the words of engine/model/activations.h.
struct Sizes {
    std::int64_t tokens, sequences, masked, hidden, wide, heads, vocabulary, layers;
    std::int64_t last_rows;  // of the last layer behind attention
    std::int64_t pairs;
    DType working;
    bool next_sentence, only_head_rows;
};

Sizes sizes_of(const StepWork& work) {
    const PretrainingOptions& model = work.trainer.model;
    const std::int64_t rows = head_rows(work.config, model);
    return {.tokens = model.capacity.tokens,
            .sequences = model.capacity.sequences,
            .masked = model.capacity.masked,
            .hidden = work.config.hidden_size,
            .wide = work.config.intermediate_size,
            .heads = work.config.num_attention_heads,
            .vocabulary = padded_vocabulary(work.config),
            .layers = work.config.num_hidden_layers,
            .last_rows = rows == 0 ? model.capacity.tokens : rows,
            .pairs = std::llround(work.pairs),
            .working = model.working,
            .next_sentence = model.next_sentence,
            .only_head_rows = rows != 0};
}

/// Two gathers or scatters of the rows that heads read: the masked ones, then [CLS].
void gather_head_rows(Tally& tally, const Sizes& s) {
    tally.add("rows_gather", rows_gather_cost(s.masked, s.hidden, s.working));
    if (s.next_sentence) tally.add("rows_gather", rows_gather_cost(s.sequences, s.hidden, s.working));
}
void scatter_head_rows(Tally& tally, const Sizes& s) {
    tally.add("rows_scatter", rows_scatter_cost(s.masked, s.tokens, s.hidden, s.working));
    if (s.next_sentence) tally.add("rows_scatter", rows_scatter_cost(s.sequences, s.sequences, s.hidden, s.working));
}

void layer_forward(Tally& tally, const Sizes& s, bool last) {
    const std::int64_t rows = last ? s.last_rows : s.tokens;
    tally.product(s.tokens, 3 * s.hidden, s.hidden);
    tally.add("attention_forward", attention_forward_cost(s.tokens, s.pairs, s.heads, s.hidden / s.heads, s.working));
    if (last && s.only_head_rows) {
        gather_head_rows(tally, s);
        gather_head_rows(tally, s);
    }
    tally.product(rows, s.hidden, s.hidden);
    tally.add("layer_norm_forward", layer_norm_forward_cost(rows, s.hidden, s.working));
    tally.product(rows, s.wide, s.hidden);
    tally.add("bias_gelu_forward", bias_gelu_forward_cost(rows, s.wide, s.working));
    tally.product(rows, s.hidden, s.wide);
    tally.add("layer_norm_forward", layer_norm_forward_cost(rows, s.hidden, s.working));
}

void layer_backward(Tally& tally, const Sizes& s, bool last, bool accumulate) {
    const std::int64_t rows = last ? s.last_rows : s.tokens;
    tally.add("layer_norm_backward", layer_norm_backward_cost(rows, s.hidden, s.working));
    tally.product_backward(rows, s.hidden, s.wide, accumulate);
    tally.add("bias_gelu_backward", bias_gelu_backward_cost(rows, s.wide, s.working));
    tally.product_backward(rows, s.wide, s.hidden, accumulate, true);
    tally.add("layer_norm_backward", layer_norm_backward_cost(rows, s.hidden, s.working));
    tally.product_backward(rows, s.hidden, s.hidden, accumulate);
    if (last && s.only_head_rows) {
        scatter_head_rows(tally, s);
        scatter_head_rows(tally, s);
    }
    tally.add("attention_backward", attention_backward_cost(s.tokens, s.pairs, s.heads, s.hidden / s.heads, s.working));
    tally.add("column_sum", column_sum_cost(s.tokens, 3 * s.hidden, s.working));
    tally.product_backward(s.tokens, 3 * s.hidden, s.hidden, accumulate, true);
}

void heads_forward(Tally& tally, const Sizes& s) {
    if (!s.only_head_rows) gather_head_rows(tally, s);
    tally.product(s.masked, s.hidden, s.hidden);
    tally.add("bias_gelu_forward", bias_gelu_forward_cost(s.masked, s.hidden, s.working));
    tally.add("layer_norm_forward", layer_norm_forward_cost(s.masked, s.hidden, s.working));
    tally.product(s.masked, s.vocabulary, s.hidden);
    tally.add("cross_entropy", cross_entropy_cost(s.masked, s.vocabulary, s.working, true));
    if (!s.next_sentence) return;
    tally.product(s.sequences, s.hidden, s.hidden);
    tally.add("bias_tanh_forward", bias_tanh_forward_cost(s.sequences, s.hidden, s.working));
    tally.product(s.sequences, kNextSentenceColumns, s.hidden);
    tally.add("cross_entropy", cross_entropy_cost(s.sequences, kNextSentenceColumns, s.working, true));
}

void heads_backward(Tally& tally, const Sizes& s, bool accumulate) {
    tally.add("column_sum", column_sum_cost(s.masked, s.vocabulary, s.working));
    tally.product_backward(s.masked, s.vocabulary, s.hidden, accumulate);
    tally.add("layer_norm_backward", layer_norm_backward_cost(s.masked, s.hidden, s.working));
    tally.add("bias_gelu_backward", bias_gelu_backward_cost(s.masked, s.hidden, s.working));
    tally.product_backward(s.masked, s.hidden, s.hidden, accumulate);
    if (s.next_sentence) {
        tally.add("column_sum", column_sum_cost(s.sequences, kNextSentenceColumns, s.working));
        tally.product_backward(s.sequences, kNextSentenceColumns, s.hidden, accumulate);
        tally.add("bias_tanh_backward", bias_tanh_backward_cost(s.sequences, s.hidden, s.working));
        tally.product_backward(s.sequences, s.hidden, s.hidden, accumulate);
    }
    if (!s.only_head_rows) scatter_head_rows(tally, s);
}

void micro_batch(Tally& tally, const StepWork& work, const Sizes& s, bool accumulate) {
    const EmbeddingSizes embedding{.tokens = s.tokens,
                                   .hidden = s.hidden,
                                   .word_rows = s.vocabulary,
                                   .positions = work.config.max_position_embeddings,
                                   .types = work.config.type_vocab_size};
    tally.add("embedding_forward", embedding_forward_cost(embedding, s.working));
    for (std::int64_t i = 0; i < s.layers; ++i) layer_forward(tally, s, i + 1 == s.layers);
    heads_forward(tally, s);
    heads_backward(tally, s, accumulate);
    for (std::int64_t i = s.layers; i-- > 0;) layer_backward(tally, s, i + 1 == s.layers, accumulate);
    tally.add("embedding_backward", embedding_backward_cost(embedding, s.working, accumulate, true));
}

/// Shares of the copy's and the products' speeds that ops reach within a step, as sums: seconds = bytes / (share x
/// copy)
/// + FLOPs / (share x products); 0: that part costs nothing. From the profiles of BERT-large at lengths 512 and 128 on
/// an H200, 2026-11-27, with dropout (benchmarks/results/h200_steps.json).
struct Shares {
    const char* op;
    double copy, products;
};
constexpr Shares kProduct = {"", 0, 0.955};
constexpr Shares kUnknown = {"", 0.7, 0};
constexpr Shares kShares[] = {
    {"attention_forward", 1.00, 0.41}, {"attention_backward", 1.00, 0.36}, {"layer_norm_forward", 0.85, 0},
    {"layer_norm_backward", 0.75, 0},  {"bias_gelu_forward", 0.94, 0},     {"bias_gelu_backward", 0.90, 0},
    {"column_sum", 0.68, 0},           {"cross_entropy", 0.90, 0},         {"optimizer_update", 0.90, 0},
    {"gradient_norm", 1.00, 0},        {"embedding_forward", 0.66, 0},     {"embedding_backward", 0.55, 0},
};

Shares shares_of(const OpCost& op) {
    if (op.product) return kProduct;
    for (const Shares& shares : kShares) {
        if (op.op == shares.op) return shares;
    }
    return kUnknown;
}

/// Of starting a kernel from a recorded graph, on the device: what the smallest ops take at least.
constexpr double kLeastSeconds = 4e-6;

}  // namespace

double pairs_of(const BertConfig& config, double tokens, double mean_length) {
    const double pairs = tokens * mean_length;
    switch (config.visible) {
        case Visible::all: return pairs;
        case Visible::past:
        case Visible::future: return (pairs + tokens) / 2;
        case Visible::strict_past:
        case Visible::strict_future: return (pairs - tokens) / 2;
    }
    return pairs;
}

double pairs_of(const BertConfig& config, const StepBatches& batches) {
    double pairs = 0;
    for (const Batch& batch : batches.micro) {
        for (std::size_t i = 0; i < static_cast<std::size_t>(batch.counts.sequences); ++i) {
            const double length = batch.offset[i + 1] - batch.offset[i];
            pairs += pairs_of(config, length, length);
        }
    }
    return pairs / static_cast<double>(batches.micro.size());
}

std::vector<OpCost> step_costs(const StepWork& work) {
    const TrainerOptions& trainer = work.trainer;
    const Sizes sizes = sizes_of(work);
    const std::int64_t elements = parameter_table(work.config).elements;
    Tally tally(sizes.working);
    tally.repeat(trainer.virtual_ranks);
    micro_batch(tally, work, sizes, false);
    tally.repeat(trainer.micro_batches - trainer.virtual_ranks);
    if (trainer.micro_batches > trainer.virtual_ranks) micro_batch(tally, work, sizes, true);
    tally.repeat(trainer.virtual_ranks - 1);
    // Where two virtual ranks meet: reads both sums, writes one.
    if (trainer.virtual_ranks > 1) tally.add("add", {.bytes = 12 * elements, .flops = elements});
    tally.repeat(1);
    tally.add("gradient_norm", gradient_norm_cost(elements, statistics_dtype(sizes.working)));
    tally.add("optimizer_update",
              optimizer_update_cost(elements, trainer.optimizer.kind, sizes.working == DType::bf16));
    return tally.take();
}

double limit_seconds(const OpCost& op, const DeviceProfile& profile) {
    const double moving = static_cast<double>(op.cost.bytes) / profile.copy_bytes_per_second;
    // What is neither a product nor attention does not use the products' units.
    const bool multiplies = op.product || shares_of(op).products > 0;
    const double computing = static_cast<double>(op.cost.flops) / profile.product_flops_per_second;
    return multiplies ? std::max(moving, computing) : moving;
}

double expected_seconds(const OpCost& op, const DeviceProfile& profile) {
    const Shares shares = shares_of(op);
    const auto part = [](std::int64_t amount, double share, double speed) {
        return share == 0 ? 0 : static_cast<double>(amount) / (share * speed);
    };
    const double seconds = part(op.cost.bytes, shares.copy, profile.copy_bytes_per_second) +
                           part(op.cost.flops, shares.products, profile.product_flops_per_second);
    return std::max(seconds, kLeastSeconds * static_cast<double>(op.calls));
}

}  // namespace cloze
