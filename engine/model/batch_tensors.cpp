#include "engine/model/batch_tensors.h"

#include <cassert>
#include <cstring>
#include <span>

namespace cloze {
namespace {

/// The one layout of a batch on a device.
BatchTensors lay_out(Arena& arena, const BatchCapacity& capacity) {
    const auto array = [&](const char* name, DType dtype, std::int64_t count) {
        return arena.tensor(name, dtype, 1, count);
    };
    const std::int64_t tokens = capacity.tokens, sequences = capacity.sequences, masked = capacity.masked;
    BatchTensors t;
    t.capacity = capacity;
    t.counts = static_cast<const BatchCounts*>(array("counts", DType::i32, sizeof(BatchCounts) / 4).address);
    t.token_id = array("token_id", DType::i32, tokens);
    t.position_id = array("position_id", DType::i32, tokens);
    t.type_id = array("type_id", DType::i32, tokens);
    t.token_order = array("token_order", DType::i32, tokens);
    t.position_order = array("position_order", DType::i32, tokens);
    t.type_order = array("type_order", DType::i32, tokens);
    t.row_sample = array("row_sample", DType::u64, tokens);
    t.offset = array("offset", DType::i32, sequences + 1);
    t.first_row = array("first_row", DType::i32, sequences);
    t.sequence_sample = array("sequence_sample", DType::u64, sequences);
    t.next_sentence_label = array("next_sentence_label", DType::i32, sequences);
    t.masked_row = array("masked_row", DType::i32, masked);
    t.masked_label = array("masked_label", DType::i32, masked);
    t.head_sample = array("head_sample", DType::u64, masked + sequences);
    t.head_position = array("head_position", DType::i32, masked + sequences);
    return t;
}

/// The arrays of a batch in the order of lay_out().
template <typename Visit>
void visit_arrays(const Batch& batch, Visit&& visit) {
    visit(std::as_bytes(std::span(&batch.counts, 1)));
    visit(std::as_bytes(std::span(batch.token_id)));
    visit(std::as_bytes(std::span(batch.position_id)));
    visit(std::as_bytes(std::span(batch.type_id)));
    visit(std::as_bytes(std::span(batch.token_order)));
    visit(std::as_bytes(std::span(batch.position_order)));
    visit(std::as_bytes(std::span(batch.type_order)));
    visit(std::as_bytes(std::span(batch.row_sample)));
    visit(std::as_bytes(std::span(batch.offset)));
    visit(std::as_bytes(std::span(batch.first_row)));
    visit(std::as_bytes(std::span(batch.sequence_sample)));
    visit(std::as_bytes(std::span(batch.next_sentence_label)));
    visit(std::as_bytes(std::span(batch.masked_row)));
    visit(std::as_bytes(std::span(batch.masked_label)));
    visit(std::as_bytes(std::span(batch.head_sample)));
    visit(std::as_bytes(std::span(batch.head_position)));
}

}  // namespace

BatchTensors host_tensors(const Batch& batch) {
    const auto view = [](const auto& values) {
        return Tensor::host(values.data(), static_cast<std::int64_t>(values.size()));
    };
    return {.capacity = batch.capacity,
            .counts = &batch.counts,
            .token_id = view(batch.token_id),
            .position_id = view(batch.position_id),
            .type_id = view(batch.type_id),
            .token_order = view(batch.token_order),
            .position_order = view(batch.position_order),
            .type_order = view(batch.type_order),
            .row_sample = view(batch.row_sample),
            .offset = view(batch.offset),
            .first_row = view(batch.first_row),
            .sequence_sample = view(batch.sequence_sample),
            .next_sentence_label = view(batch.next_sentence_label),
            .masked_row = view(batch.masked_row),
            .masked_label = view(batch.masked_label),
            .head_sample = view(batch.head_sample),
            .head_position = view(batch.head_position)};
}

BatchFeed::BatchFeed(const BatchCapacity& capacity, const Device& device)
    : compute_(device.compute()),
      copies_(device.copies()),
      arena_("micro-batch", "lower --micro-batch-tokens", Place::device),
      last_copy_({.place = Place::device, .stream = copies_}),
      last_wait_(compute_) {
    lay_out(arena_, capacity);
    arena_.bind();
    tensors_ = lay_out(arena_, capacity);
    for (Slot& slot : slots_) {
        slot.pinned = PinnedBuffer(arena_.bytes());
        slot.staged = DeviceBuffer(arena_.bytes());
        std::memset(slot.pinned.address(), 0, static_cast<std::size_t>(arena_.bytes()));
    }
}

std::int64_t BatchFeed::planned_bytes(const BatchCapacity& capacity) {
    Arena arena("micro-batch", "", Place::device);
    lay_out(arena, capacity);
    return 3 * arena.bytes();
}

void BatchFeed::put(const Batch& batch) {
    Slot& slot = slots_[puts_++ % 2];
    if (slot.used) slot.copied.wait();
    const ArenaPart* part = arena_.report().data();
    visit_arrays(batch, [&](std::span<const std::byte> bytes) {
        assert(static_cast<std::int64_t>(bytes.size()) == part->shape.count() * size_of(part->shape.dtype));
        std::memcpy(static_cast<char*>(slot.pinned.address()) + part++->offset, bytes.data(), bytes.size());
    });
    if (slot.used) slot.taken.hold(copies_);
    copy_to_device(slot.staged.address(), slot.pinned.address(), arena_.bytes(), copies_);
    slot.copied.record(copies_);
    slot.copied.hold(compute_.stream);
    copy_on_device(arena_.report().front().shape.address, slot.staged.address(), arena_.bytes(), compute_.stream);
    slot.taken.record(compute_.stream);
    slot.used = true;
}

}  // namespace cloze
