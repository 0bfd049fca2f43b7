// Fuzz target: any bytes as a token shard, signed so that the checks behind the checksums are reached. What opens and
// verifies must be safe to sample from.
#include "engine/data/epoch_plan.h"
#include "engine/data/sampler.h"
#include "kernels/core/error.h"
#include "tests/data/shard_bytes.h"

namespace {

void sample_from(const std::shared_ptr<const cloze::Shard>& shard) {
    const auto vocabulary_size = static_cast<std::int64_t>(shard->table().vocabulary_size);
    if (shard->part().documents() == 0 || vocabulary_size > (1 << 20)) return;
    auto store =
        std::make_shared<const cloze::TokenStore>(std::vector<cloze::TokenStore::Part>{{shard->part(), shard}}, "fuzz");
    cloze::TokenRoles roles{.vocabulary_size = vocabulary_size};
    roles.continues_word.resize(static_cast<std::size_t>(vocabulary_size));
    const cloze::Sampler sampler(store, {}, roles);
    const cloze::EpochPlan plan(sampler, 0, 1);
    cloze::Sample sample;
    for (std::uint64_t i = 0; i < plan.samples(); ++i) sampler.make(plan.source(i), sample);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    cloze::test::AlignedBytes file({reinterpret_cast<const char*>(data), size});
    if (size >= sizeof(cloze::ShardPreamble) + sizeof(cloze::ShardTable) && size % 8 == 0) file.sign();
    try {
        const auto shard = cloze::Shard::from_bytes(file.bytes(), "fuzz.shard");
        shard->verify();
        sample_from(shard);
    } catch (const cloze::Error&) {
        // Refused, as it should be.
    }
    return 0;
}
