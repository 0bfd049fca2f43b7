// What the tests of the model share: flat buffers of a parameter table, micro-batches of given or random sequences, one
// call for forward and backward, distances between tensors.
#pragma once

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "engine/data/sampler.h"
#include "engine/model/pretraining.h"
#include "kernels/core/random_stream.h"

namespace cloze::test {

/// A flat buffer of a table's layout. New elements are NaN, so that what nobody writes shows.
class Parameters {
public:
    Parameters(const ParameterTable& table, DType dtype) : table_(&table), dtype_(dtype) {
        const auto count = static_cast<std::size_t>(table.elements);
        if (dtype == DType::f64)
            doubles_.assign(count, std::numeric_limits<double>::quiet_NaN());
        else
            floats_.assign(count, std::numeric_limits<float>::quiet_NaN());
    }

    ParameterView view() const {
        const Tensor flat = dtype_ == DType::f64 ? Tensor::host(doubles_.data(), table_->elements)
                                                 : Tensor::host(floats_.data(), table_->elements);
        return {table_, flat};
    }
    double get(std::int64_t i) const {
        const auto at = static_cast<std::size_t>(i);
        return dtype_ == DType::f64 ? doubles_[at] : static_cast<double>(floats_[at]);
    }
    void set(std::int64_t i, double value) {
        const auto at = static_cast<std::size_t>(i);
        if (dtype_ == DType::f64)
            doubles_[at] = value;
        else
            floats_[at] = static_cast<float>(value);
    }
    /// The elements of one row of the table, without padding.
    std::vector<double> values(const Parameter& row) const {
        std::vector<double> result;
        for (std::int64_t i = 0; i < row.count(); ++i) result.push_back(get(row.offset + i));
        return result;
    }

    const ParameterTable& table() const { return *table_; }
    DType dtype() const { return dtype_; }

private:
    const ParameterTable* table_;
    DType dtype_;
    std::vector<double> doubles_;
    std::vector<float> floats_;
};

/// Random values everywhere: also for biases and LayerNorm, whose initial 0 and 1 hide mistakes. Padding rows stay 0.
inline Parameters random_parameters(const ParameterTable& table, DType dtype, std::uint64_t seed, double scale = 0.2) {
    Parameters parameters(table, dtype);
    for (std::int64_t i = 0; i < table.elements; ++i) parameters.set(i, 0);
    RandomStream stream({.seed = seed, .purpose = RandomPurpose::initialization});
    for (const Parameter& row : table.rows) {
        const double centre = row.initial == InitialValue::one ? 1 : 0;
        for (std::int64_t i = 0; i < row.count(); ++i) {
            parameters.set(row.offset + i, centre + scale * (2.0 * static_cast<double>(stream.uniform()) - 1));
        }
    }
    return parameters;
}

inline BatchLimits limits_of(const BertConfig& config) {
    return {.vocabulary_size = config.vocab_size, .positions = config.max_position_embeddings};
}

/// Random ids, about every fourth token masked, at least one; the same for the same seed.
inline Sample random_sample(const BertConfig& config, std::int64_t length, std::uint64_t seed) {
    RandomStream stream({.seed = seed, .purpose = RandomPurpose::masking});
    const auto below = [&](std::int64_t n) {
        return static_cast<std::int32_t>(stream.below(static_cast<std::uint32_t>(n)));
    };
    Sample sample;
    for (std::int64_t i = 0; i < length; ++i) sample.token_id.push_back(below(config.vocab_size));
    sample.first_segment = length < 2 ? length : 1 + below(length - 1);
    sample.next_sentence_label = below(2);
    for (std::int32_t i = 0; i < length; ++i) {
        if (!stream.chance(0.25) && !(i + 1 == length && sample.masked_position.empty())) continue;
        sample.masked_position.push_back(i);
        sample.masked_label.push_back(below(config.vocab_size));
    }
    return sample;
}

inline std::vector<Sample> random_samples(const BertConfig& config, const std::vector<std::int64_t>& lengths,
                                          std::uint64_t seed) {
    std::vector<Sample> samples;
    for (std::size_t i = 0; i < lengths.size(); ++i) samples.push_back(random_sample(config, lengths[i], seed + i));
    return samples;
}

/// Just large enough, plus `spare` of each kind.
inline BatchCapacity capacity_for(std::span<const Sample> samples, std::int64_t spare = 0) {
    BatchCapacity capacity{spare, spare, spare};
    for (const Sample& sample : samples) {
        capacity.tokens += static_cast<std::int64_t>(sample.token_id.size());
        capacity.masked += static_cast<std::int64_t>(sample.masked_position.size());
        ++capacity.sequences;
    }
    return capacity;
}

/// Samples under the stream indices first_index, first_index + 1, ...
inline Batch make_batch(std::span<const Sample> samples, const BatchCapacity& capacity, const BertConfig& config,
                        std::uint64_t first_index = 0) {
    Batch batch = empty_batch(capacity);
    for (const Sample& sample : samples) append_sample(batch, sample, first_index++, limits_of(config));
    finish_batch(batch, limits_of(config));
    return batch;
}

/// A step's state whose losses are normalised by these counts.
inline StepState state_for(std::int64_t masked, std::int64_t sequences) {
    return {.step = 3,
            .dropout_key = step_dropout_key(17, 3),
            .inverse_masked = 1.0 / static_cast<double>(masked),
            .inverse_sequences = 1.0 / static_cast<double>(sequences)};
}
inline StepState state_for(const Batch& batch) {
    return state_for(batch.counts.masked, batch.counts.sequences);
}

inline double total_loss(const LossSums& sums, const StepState& state) {
    return sums.masked_loss * state.inverse_masked + sums.next_sentence_loss * state.inverse_sequences;
}

/// Gradients of one batch, overwritten into a new buffer.
inline Parameters gradients_of(PretrainingModel& model, const ParameterView& weights, const Batch& batch,
                               const StepState& state) {
    Parameters gradients(*weights.table, statistics_dtype(weights.flat.dtype));
    model.put(batch);
    model.forward(weights, &state, true);
    model.backward(weights, &state, gradients.view(), false);
    return gradients;
}

/// Every element that belongs to a parameter, padding rows included, has the same bits.
inline bool same_bits(const Parameters& a, const Parameters& b) {
    for (const Parameter& row : a.table().rows) {
        for (std::int64_t i = row.offset; i < row.offset + row.padded_rows * row.cols; ++i) {
            const double left = a.get(i), right = b.get(i);
            if (std::memcmp(&left, &right, sizeof left) != 0) return false;
        }
    }
    return true;
}

inline double largest(const std::vector<double>& values) {
    double result = 0;
    for (const double value : values) result = std::max(result, std::abs(value));
    return result;
}

/// Largest |a - b|; infinity when something is not a number.
inline double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
    REQUIRE(a.size() == b.size());
    double result = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const double difference = std::abs(a[i] - b[i]);
        if (!(difference <= result)) result = std::isnan(difference) ? INFINITY : difference;
    }
    return result;
}

/// The name of the tensor whose size measures errors of `name`. The gradient of a key bias is 0, because softmax does
/// not change when all scores of a query move together; what is computed for it is rounding, so it is measured against
/// the gradient of the key weight.
inline std::string yardstick_of(const std::string& name) {
    const std::string suffix = "key.bias";
    return name.ends_with(suffix) ? name.substr(0, name.size() - suffix.size()) + "key.weight" : name;
}

/// Largest over the tensors of max |a - b| / max |yardstick in b|; `worst` names it.
inline double relative_distance(const Parameters& a, const Parameters& b, std::string* worst = nullptr) {
    std::map<std::string, double> size;
    for (const Parameter& row : b.table().rows) size[row.name] = largest(b.values(row));
    double result = 0;
    for (const Parameter& row : b.table().rows) {
        const double distance = largest_difference(a.values(row), b.values(row)) / size.at(yardstick_of(row.name));
        if (distance <= result) continue;
        result = distance;
        if (worst != nullptr) *worst = row.name;
    }
    return result;
}

}  // namespace cloze::test
