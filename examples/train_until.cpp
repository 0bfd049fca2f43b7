// A whole run by one call, watched by its caller: checkpoints, resuming, evaluation and metrics as in `cloze pretrain`,
// but it ends when the masked-LM loss is low enough.
//
//   train_until DATASET OUTPUT MASKED_LM_LOSS
//
// Called again with the same words it continues OUTPUT. After 500 steps it ends in any case.
#include <cstdio>
#include <cstdlib>

#include "engine/train/run.h"
#include "kernels/core/error.h"

int train(const char* data, const char* output, double wanted_loss) {
    using namespace cloze;
    bool reached = false;
    const RunRecipe recipe{.data = data,
                           .model = preset_config("tiny"),
                           .samples = {.max_seq_length = 64, .seed = 1},
                           .optimizer = {.schedule = {ScheduleKind::linear, 1e-3, 50, 500}},
                           .global_batch_size = 16};
    const RunHandling handling{.output = output, .save_every = 100};
    const RunObserver observer{
        .on_progress =
            [&](const Progress& p) {
                std::printf("step %lld/%lld  masked LM %.4f\n", static_cast<long long>(p.step),
                            static_cast<long long>(p.steps), p.masked_loss);
                reached = p.masked_loss <= wanted_loss;
            },
        .stop_requested = [&] { return reached; },
    };
    const RunResult result = pretrain(recipe, handling, observer);
    std::printf("%s after %lld steps; checkpoint: %s\n", result.stopped ? "low enough" : "done",
                static_cast<long long>(result.steps_done), result.checkpoint.c_str());
    return 0;
}

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: train_until DATASET OUTPUT MASKED_LM_LOSS\n");
        return 2;
    }
    try {
        return train(argv[1], argv[2], std::atof(argv[3]));
    } catch (const cloze::Error& error) {
        std::fprintf(stderr, "train_until: %s\n", error.what());
        return 1;
    }
}
