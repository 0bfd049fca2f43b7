#include "engine/data/epoch_plan.h"

#include <algorithm>
#include <bit>

#include "engine/data/threads.h"
#include "kernels/core/error.h"

namespace cloze {

EpochOrder::EpochOrder(std::uint64_t seed, std::uint32_t epoch, std::uint64_t count)
    : seed_(seed), epoch_(epoch), count_(count) {
    const int bits = count <= 1 ? 1 : std::bit_width(count - 1);
    half_bits_ = (bits + 1) / 2;
}

std::uint64_t EpochOrder::operator()(std::uint64_t position) const {
    const PhiloxKey key = philox_key(seed_);
    const std::uint32_t purpose = static_cast<std::uint32_t>(RandomPurpose::epoch_order) << 24;
    const std::uint64_t half_mask = (std::uint64_t{1} << half_bits_) - 1;
    do {
        std::uint64_t left = position >> half_bits_;
        std::uint64_t right = position & half_mask;
        for (std::uint32_t round = 0; round < 8; ++round) {
            const PhiloxBits bits = philox(static_cast<std::uint32_t>(right), round, epoch_, purpose, key);
            const std::uint64_t mixed = left ^ (bits.word[0] & half_mask);
            left = right;
            right = mixed;
        }
        position = (left << half_bits_) | right;
    } while (position >= count_);
    return position;
}

struct EpochPlan::Block {
    std::vector<std::uint32_t> samples;  // of each document
    std::vector<std::uint32_t> first_sentence;
    std::vector<std::uint16_t> length;

    void walk(const Sampler& sampler, std::uint32_t epoch, std::uint64_t document) {
        const std::int64_t sentences = sampler.store().document(static_cast<std::int64_t>(document)).sentences();
        const std::int64_t target = sampler.target_length(epoch, document);
        SampleSource source{.epoch = epoch, .document = document};
        for (std::int64_t sentence = 0; sentence < sentences; ++source.ordinal) {
            source.first_sentence = static_cast<std::uint32_t>(sentence);
            const SampleShape shape = sampler.shape(source, target);
            first_sentence.push_back(source.first_sentence);
            length.push_back(static_cast<std::uint16_t>(shape.length));
            sentence = shape.next_sentence;
        }
        samples.push_back(source.ordinal);
    }
};

EpochPlan::EpochPlan(const Sampler& sampler, std::uint32_t epoch, int threads, const std::atomic<bool>* cancel)
    : epoch_(epoch), order_(0, 0, 0) {
    constexpr std::int64_t kDocumentsPerBlock = 256;
    const std::int64_t documents = sampler.store().documents();
    std::vector<Block> blocks(static_cast<std::size_t>((documents + kDocumentsPerBlock - 1) / kDocumentsPerBlock));
    for_each_on_threads(static_cast<std::int64_t>(blocks.size()), threads, [&](std::int64_t i) {
        if (cancel != nullptr && *cancel) fail(Fault::interrupted, "planning epoch ", epoch, " was cancelled");
        const std::int64_t end = std::min(documents, (i + 1) * kDocumentsPerBlock);
        for (std::int64_t document = i * kDocumentsPerBlock; document < end; ++document) {
            blocks[static_cast<std::size_t>(i)].walk(sampler, epoch, static_cast<std::uint64_t>(document));
        }
    });

    std::size_t samples = 0;
    for (const Block& block : blocks) samples += block.length.size();
    first_sample_.reserve(static_cast<std::size_t>(documents) + 1);
    first_sentence_.reserve(samples);
    length_.reserve(samples);
    std::uint64_t first = 0;
    for (Block& block : blocks) {
        for (const std::uint32_t count : block.samples) {
            first_sample_.push_back(first);
            first += count;
        }
        first_sentence_.insert(first_sentence_.end(), block.first_sentence.begin(), block.first_sentence.end());
        length_.insert(length_.end(), block.length.begin(), block.length.end());
        for (const std::uint16_t length : block.length) tokens_ += length;
        block = {};
    }
    first_sample_.push_back(first);
    order_ = EpochOrder(sampler.settings().seed, epoch, samples);
}

SampleSource EpochPlan::source_in_corpus(std::uint64_t index) const {
    const auto after = std::upper_bound(first_sample_.begin(), first_sample_.end(), index);
    const auto document = static_cast<std::uint64_t>(after - first_sample_.begin()) - 1;
    return {.epoch = epoch_,
            .document = document,
            .ordinal = static_cast<std::uint32_t>(index - first_sample_[document]),
            .first_sentence = first_sentence_[index]};
}

}  // namespace cloze
