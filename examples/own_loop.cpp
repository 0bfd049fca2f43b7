// A training loop of one's own: dataset -> sampler -> stream of packed micro-batches -> Trainer::step.
//
//   own_loop DATASET STEPS
//
// DATASET comes from `cloze prepare`. Nothing here prints, catches signals or writes files but this program itself.
#include <cstdio>
#include <cstdlib>

#include "engine/data/batch_stream.h"
#include "engine/data/dataset.h"
#include "engine/data/step_shape.h"
#include "engine/model/initialization.h"
#include "engine/train/trainer.h"
#include "kernels/core/error.h"

int train(const char* folder, std::int64_t steps) {
    using namespace cloze;
    const Dataset data = Dataset::open(folder);
    const SampleSettings samples{.max_seq_length = 64, .seed = 1};
    const auto sampler =
        std::make_shared<const Sampler>(data.tokens(Split::train), samples, token_roles(data.vocabulary()));

    BertConfig config = preset_config("tiny");
    config.vocab_size = data.vocabulary().size();

    // A step is M micro-batches of fixed capacities, filled with whole sequences.
    const StepShape shape = derive_step_shape({.global_batch_size = 16,
                                               .micro_batch_tokens = 2048,
                                               .virtual_ranks = 1,
                                               .max_position_embeddings = config.max_position_embeddings},
                                              *sampler, EpochPlan(*sampler, 0, 1));
    BatchStream stream(sampler, {.capacity = shape.capacity, .micro_batches = shape.micro_batches},
                       {.vocabulary_size = config.vocab_size, .positions = config.max_position_embeddings});

    Trainer trainer(config, {.model = {.capacity = shape.capacity},
                             .optimizer = {.schedule = {ScheduleKind::linear, 1e-3, steps / 10, steps}},
                             .seed = samples.seed,
                             .micro_batches = shape.micro_batches});
    initialize(trainer.weights(), config.initializer_range, samples.seed, Initialization::truncated_normal);

    for (std::int64_t step = 0; step < steps; ++step) {
        const StepReport report = trainer.step(stream.next());
        if (report.step % 10 == 0 || report.step == steps) {
            std::printf("step %lld  masked LM %.4f  next sentence %.4f  %.2f epochs\n",
                        static_cast<long long>(report.step), report.losses.masked_mean(),
                        report.losses.next_sentence_mean(), stream.epochs());
        }
    }
    return 0;
}

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: own_loop DATASET STEPS\n");
        return 2;
    }
    try {
        return train(argv[1], std::atoll(argv[2]));
    } catch (const cloze::Error& error) {
        std::fprintf(stderr, "own_loop: %s\n", error.what());
        return 1;
    }
}
