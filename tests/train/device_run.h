// The tiny model of tiny_run.h as devices train it, shared by the tests on a GPU and on the emulator.
#pragma once

#include "engine/model/host_copy.h"
#include "engine/model/initialization.h"
#include "tests/train/tiny_run.h"

namespace cloze::test {

/// Heads of 32, as devices have them.
inline BertConfig device_config() {
    BertConfig config = tiny_config();
    config.hidden_size = 64;
    config.num_attention_heads = 2;
    config.intermediate_size = 128;
    return config;
}

inline TrainerOptions device_options(std::int64_t micro_batches, std::int64_t virtual_ranks = 1) {
    TrainerOptions options = tiny_options(micro_batches, virtual_ranks);
    options.model.working = DType::bf16;
    options.model.place = Place::device;
    return options;
}

inline void start(Trainer& trainer) {
    const HostCopy weights(trainer.weights(), trainer.compute());
    initialize(weights.view(), 0.1, 1, Initialization::truncated_normal);
    weights.send();
    trainer.weights_written();
}

}  // namespace cloze::test
