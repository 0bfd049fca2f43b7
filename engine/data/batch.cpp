#include "engine/data/batch.h"

#include <algorithm>

#include "engine/data/sampler.h"
#include "kernels/core/error.h"

namespace cloze {

namespace {

/// Rows sorted by id, stable, by counting; rows from `used` on stay last.
void sort_rows(const std::vector<std::int32_t>& id, std::int32_t used, std::int64_t ids,
               std::vector<std::int32_t>& order) {
    std::vector<std::int32_t> place(static_cast<std::size_t>(ids) + 1);
    for (std::int32_t row = 0; row < used; ++row) ++place[static_cast<std::size_t>(id[row]) + 1];
    for (std::size_t i = 1; i < place.size(); ++i) place[i] += place[i - 1];
    for (std::int32_t row = 0; row < used; ++row) order[place[static_cast<std::size_t>(id[row])]++] = row;
    for (auto row = static_cast<std::size_t>(used); row < order.size(); ++row) {
        order[row] = static_cast<std::int32_t>(row);
    }
}

void require_ids(const std::vector<std::int32_t>& ids, std::int64_t vocabulary_size, const char* what,
                 std::uint64_t sample_index) {
    for (std::size_t i = 0; i < ids.size(); ++i) {
        require_input(ids[i] >= 0 && ids[i] < vocabulary_size, "sample ", sample_index, ": ", what, " ", i, " is ",
                      ids[i], ", outside the vocabulary of ", vocabulary_size,
                      "; the dataset does not belong to this vocabulary or is damaged, run cloze prepare again");
    }
}

void require_sample(const Sample& sample, std::uint64_t sample_index, const BatchLimits& limits) {
    const auto length = static_cast<std::int64_t>(sample.token_id.size());
    require_input(length <= limits.positions, "sample ", sample_index, " has ", length,
                  " tokens but the position table ends at ", limits.positions,
                  "; lower max_seq_length or use a model with more positions");
    require_ids(sample.token_id, limits.vocabulary_size, "token", sample_index);
    require_ids(sample.masked_label, limits.vocabulary_size, "label", sample_index);
    const bool positions_fit = std::ranges::all_of(
        sample.masked_position, [&](std::int32_t position) { return position >= 0 && position < length; });
    if (!positions_fit || sample.masked_position.size() != sample.masked_label.size() || sample.first_segment < 0 ||
        sample.first_segment > length || (sample.next_sentence_label != 0 && sample.next_sentence_label != 1)) {
        fail(Fault::internal, "sample ", sample_index, " of ", length,
             " tokens has a masked position, segment or label out of range; please report this");
    }
}

}  // namespace

Batch empty_batch(const BatchCapacity& capacity) {
    const auto tokens = static_cast<std::size_t>(capacity.tokens);
    const auto sequences = static_cast<std::size_t>(capacity.sequences);
    const auto masked = static_cast<std::size_t>(capacity.masked);
    Batch batch;
    batch.capacity = capacity;
    for (auto* column : {&batch.token_id, &batch.position_id, &batch.type_id}) column->assign(tokens, 0);
    for (auto* order : {&batch.token_order, &batch.position_order, &batch.type_order}) {
        order->resize(tokens);
        for (std::size_t row = 0; row < tokens; ++row) (*order)[row] = static_cast<std::int32_t>(row);
    }
    batch.row_sample.assign(tokens, 0);
    batch.offset.assign(sequences + 1, 0);
    batch.first_row.assign(sequences, 0);
    batch.sequence_sample.assign(sequences, 0);
    batch.next_sentence_label.assign(sequences, 0);
    batch.masked_row.assign(masked, 0);
    batch.masked_label.assign(masked, 0);
    batch.head_sample.assign(masked + sequences, 0);
    batch.head_position.assign(masked + sequences, 0);
    return batch;
}

void append_sample(Batch& batch, const Sample& sample, std::uint64_t sample_index, const BatchLimits& limits) {
    require_sample(sample, sample_index, limits);
    const auto length = static_cast<std::int32_t>(sample.token_id.size());
    const std::int32_t first = batch.counts.tokens;
    const std::int32_t sequence = batch.counts.sequences;
    if (first + length > batch.capacity.tokens || sequence >= batch.capacity.sequences ||
        batch.counts.masked + static_cast<std::int64_t>(sample.masked_position.size()) > batch.capacity.masked) {
        fail(Fault::internal, "sample ", sample_index, " of ", length, " tokens does not fit the micro-batch (",
             batch.counts.tokens, " of ", batch.capacity.tokens, " tokens, ", batch.counts.sequences, " of ",
             batch.capacity.sequences, " sequences, ", batch.counts.masked, " of ", batch.capacity.masked,
             " predictions in use); please report this");
    }
    std::ranges::copy(sample.token_id, batch.token_id.begin() + first);
    for (std::int32_t position = 0; position < length; ++position) {
        batch.position_id[first + position] = position;
        batch.type_id[first + position] = position < sample.first_segment ? 0 : 1;
        batch.row_sample[first + position] = sample_index;
    }
    batch.first_row[sequence] = first;
    batch.sequence_sample[sequence] = sample_index;
    batch.next_sentence_label[sequence] = sample.next_sentence_label;
    batch.head_sample[batch.capacity.masked + sequence] = sample_index;
    std::fill(batch.offset.begin() + sequence + 1, batch.offset.end(), first + length);
    for (std::size_t i = 0; i < sample.masked_position.size(); ++i) {
        batch.masked_row[batch.counts.masked] = first + sample.masked_position[i];
        batch.masked_label[batch.counts.masked] = sample.masked_label[i];
        batch.head_sample[batch.counts.masked] = sample_index;
        batch.head_position[batch.counts.masked] = sample.masked_position[i];
        ++batch.counts.masked;
    }
    batch.counts.tokens += length;
    ++batch.counts.sequences;
}

void finish_batch(Batch& batch, const BatchLimits& limits) {
    sort_rows(batch.token_id, batch.counts.tokens, limits.vocabulary_size, batch.token_order);
    sort_rows(batch.position_id, batch.counts.tokens, limits.positions, batch.position_order);
    sort_rows(batch.type_id, batch.counts.tokens, 2, batch.type_order);
}

}  // namespace cloze
