#include "engine/data/step_shape.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/data/packing.h"
#include "kernels/core/error.h"

namespace cloze {

namespace {

constexpr std::int64_t kMostSequences = std::int64_t{1} << 24;  // a step; BERT's largest was 65,536
constexpr std::int64_t kMostTokens = std::int64_t{1} << 24;     // a micro-batch, whatever the limit asked for
constexpr std::int64_t kMostVirtualRanks = std::int64_t{1} << 16;
constexpr std::int64_t kMeasuredSamples = 40000;
constexpr std::int64_t kMeasuredMicroBatches = 64;

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

struct Measured {
    double sequences = 0;  // a micro-batch
    double fill = 0;
    std::int64_t most_sequences = 0;
    std::int64_t most_masked = 0;
};

/// Packs the lengths, again and again from the start, into micro-batches of `tokens` without other limits.
Measured measure(const std::vector<SampleSize>& sizes, const SampleSize& longest, std::int64_t tokens) {
    const auto size_of = [&](std::uint64_t index) { return sizes[index % sizes.size()]; };
    Packer packer({tokens, tokens, tokens}, longest, size_of);
    Measured measured;
    std::int64_t micro_batches = 0;
    std::int64_t sequences = 0;
    std::int64_t used = 0;
    while (sequences < kMeasuredSamples || micro_batches < kMeasuredMicroBatches) {
        const std::vector<std::uint64_t> packed = packer.pack();
        std::int64_t masked = 0;
        for (const std::uint64_t index : packed) {
            used += size_of(index).tokens;
            masked += size_of(index).masked;
        }
        ++micro_batches;
        sequences += static_cast<std::int64_t>(packed.size());
        measured.most_sequences = std::max(measured.most_sequences, static_cast<std::int64_t>(packed.size()));
        measured.most_masked = std::max(measured.most_masked, masked);
    }
    measured.sequences = static_cast<double>(sequences) / static_cast<double>(micro_batches);
    measured.fill = static_cast<double>(used) / static_cast<double>(micro_batches * tokens);
    return measured;
}

void require_request(const StepShapeRequest& request, const Sampler& sampler, const EpochPlan& plan) {
    const std::int64_t longest = sampler.settings().max_seq_length;
    require(request.global_batch_size >= 1, "global batch size is ", request.global_batch_size,
            "; a step needs at least one sequence");
    require(request.global_batch_size <= kMostSequences, "global batch size is ", request.global_batch_size,
            "; a step has at most ", kMostSequences, " sequences");
    require(request.virtual_ranks >= 1 && (request.virtual_ranks & (request.virtual_ranks - 1)) == 0,
            "virtual ranks is ", request.virtual_ranks, "; it must be a power of two");
    require(request.virtual_ranks <= kMostVirtualRanks, "virtual ranks is ", request.virtual_ranks, "; at most ",
            kMostVirtualRanks);
    require(longest <= request.max_position_embeddings, "max_seq_length ", longest,
            " is above the model's position table of ", request.max_position_embeddings, "; lower it to ",
            request.max_position_embeddings, " or use a model with max_position_embeddings of at least ", longest);
    require(request.micro_batch_tokens >= round_up(longest, 8), "a micro-batch of at most ", request.micro_batch_tokens,
            " tokens does not hold one sequence of max_seq_length ", longest, "; raise it to at least ",
            round_up(longest, 8));
    require_input(plan.samples() > 0, "the corpus gives no samples; add text");
}

/// The multiple of `multiple` nearest to `tokens` within the limits.
std::int64_t rounded_tokens(double tokens, std::int64_t multiple, std::int64_t longest, std::int64_t most) {
    const auto nearest = static_cast<std::int64_t>(std::llround(tokens / static_cast<double>(multiple))) * multiple;
    return std::clamp(nearest, round_up(longest, multiple), std::max(round_up(longest, multiple), most));
}

}  // namespace

StepShape derive_step_shape(const StepShapeRequest& request, const Sampler& sampler, const EpochPlan& plan) {
    require_request(request, sampler, plan);
    std::vector<SampleSize> sizes(std::min<std::uint64_t>(plan.samples(), kMeasuredSamples));
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        const std::int64_t length = plan.length(i);
        sizes[i] = {length, sampler.predictions(length)};
    }
    const std::int64_t longest_tokens = sampler.settings().max_seq_length;
    const SampleSize longest{longest_tokens, sampler.predictions(longest_tokens)};
    const std::int64_t most = std::min(request.micro_batch_tokens, kMostTokens) / 8 * 8;
    const double step_tokens = static_cast<double>(request.global_batch_size) * plan.mean_length();

    StepShape shape{.mean_length = plan.mean_length()};
    double fill = 0.995;
    const double rank_tokens = step_tokens / (fill * static_cast<double>(request.virtual_ranks));
    const double rank_micro_batches = std::max(1.0, std::ceil(rank_tokens / static_cast<double>(most)));
    shape.micro_batches = static_cast<std::int64_t>(rank_micro_batches) * request.virtual_ranks;
    // T depends on the fill and the fill on T: a few rounds settle to within one rounding of T.
    double tokens = 0;
    for (int round = 0; round < 3; ++round) {
        tokens = step_tokens / (fill * static_cast<double>(shape.micro_batches));
        fill = measure(sizes, longest, rounded_tokens(tokens, 8, longest_tokens, most)).fill;
    }
    shape.capacity.tokens = rounded_tokens(tokens, 8, longest_tokens, most);
    const std::int64_t coarse = rounded_tokens(tokens, 16, longest_tokens, most);
    if (std::abs(static_cast<double>(coarse) - tokens) < 0.005 * tokens) shape.capacity.tokens = coarse;

    const Measured measured = measure(sizes, longest, shape.capacity.tokens);
    const std::int64_t sequences = measured.most_sequences + measured.most_sequences / 4 + 1;
    shape.capacity.sequences = std::min(round_up(sequences, 8), shape.capacity.tokens);
    shape.capacity.masked = std::min(round_up(measured.most_masked + longest.masked, 8), shape.capacity.tokens);
    shape.sequences_per_step = measured.sequences * static_cast<double>(shape.micro_batches);
    shape.fill = measured.fill;
    return shape;
}

}  // namespace cloze
