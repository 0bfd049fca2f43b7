// Cloze inside another program: text of its own in memory, a small model, a loop around begin() and finish(), and a
// checkpoint that HuggingFace loads.
//
//   embed OUTPUT STEPS [gpu]
//
// With `gpu` it trains on GPU 0, in a stream that this program owns: a cudaStream_t as Cloze takes it, a plain address.
// Tested by tests/project/embed_test.sh.
#include <cstdio>
#include <cstdlib>

#include "engine/data/batch_stream.h"
#include "engine/device/device.h"
#include "engine/model/host_copy.h"
#include "engine/model/initialization.h"
#include "engine/train/checkpoint.h"

using namespace cloze;

const char* const kVocabulary =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nsmall\nold\ncat\ndog\nbird\nsees\nhears\nfinds\n.\n";

/// 40 documents of small and old animals that find each other.
std::shared_ptr<const TokenStore> written(const Tokenizer& tokenizer) {
    const char *ages[] = {"small ", "old "}, *animals[] = {"cat ", "dog ", "bird "},
               *deeds[] = {"sees ", "hears ", "finds "};
    TokenArrays arrays;
    for (int document = 0; document < 40; ++document) {
        for (int sentence = 0; sentence < 6; ++sentence) {
            const int n = document * 7 + sentence * 5;
            const std::string text = std::string("the ") + ages[n % 2] + animals[n % 3] + deeds[document % 3] + "the " +
                                     ages[(n + 1) % 2] + animals[(n + 1) % 3] + ".";
            std::vector<std::int32_t> ids;
            tokenizer.encode(text, ids);
            arrays.add_sentence(ids);
        }
        arrays.end_document();
    }
    return store_in_memory(std::move(arrays), "animals that find each other");
}

void print(const StepReport& report) {
    if (report.step % 10 != 0) return;
    std::printf("step %lld  masked LM %.4f  next sentence %.4f\n", static_cast<long long>(report.step),
                report.losses.masked_mean(), report.losses.next_sentence_mean());
}

void train(const char* output, std::int64_t steps, Device* device) {
    const Tokenizer tokenizer(Vocabulary::parse(kVocabulary, "the vocabulary of this program"));
    const Vocabulary& words = tokenizer.vocabulary();
    const auto sampler = std::make_shared<const Sampler>(
        written(tokenizer), SampleSettings{.max_seq_length = 32, .seed = 1}, token_roles(words));

    BertConfig config = preset_config("tiny");
    config.vocab_size = words.size();
    config.hidden_size = 64;
    config.intermediate_size = 128;
    config.max_position_embeddings = 32;

    // Capacities and M are this program's choice; derive_step_shape() would derive them from a batch size.
    const BatchCapacity capacity{.tokens = 128, .sequences = 16, .masked = 32};
    BatchStream samples(sampler, {.capacity = capacity, .micro_batches = 2, .prefetch_threads = 0},
                        {.vocabulary_size = config.vocab_size, .positions = config.max_position_embeddings});

    TrainerOptions options{.model = {.capacity = capacity},
                           .optimizer = {.schedule = {ScheduleKind::linear, 2e-3, steps / 10, steps}},
                           .seed = 1,
                           .micro_batches = 2};
    if (device != nullptr) {
        options.model.place = Place::device;
        options.model.working = DType::bf16;
    }
    Trainer trainer(config, options, device);
    const HostCopy weights(trainer.weights(), trainer.compute());
    initialize(weights.view(), config.initializer_range, options.seed, Initialization::truncated_normal);
    weights.send();
    trainer.weights_written();

    // One step ahead: while a GPU computes a step, the host makes and hands over the next.
    for (std::int64_t step = 0; step < steps; ++step) {
        trainer.begin(samples.next());
        if (trainer.unfinished() > 1) print(trainer.finish());
    }
    while (trainer.unfinished() > 0) print(trainer.finish());

    std::filesystem::create_directories(output);
    const auto saved = save_checkpoint(output, trainer, config, {words, tokenizer.options()},
                                       {.step = trainer.progress().steps,
                                        .updates = trainer.progress().updates,
                                        .stream = samples.state(),
                                        .recipe = Json::object(),
                                        .matrix_library = "whatever this program notes here"});
    std::printf("%s\n", saved.c_str());
}

int main(int argc, char** argv) {
    const bool on_gpu = argc == 4 && std::string(argv[3]) == "gpu";
    if (argc != 3 && !on_gpu) {
        std::fprintf(stderr, "usage: embed OUTPUT STEPS [gpu]\n");
        return 2;
    }
    try {
        if (!on_gpu) {
            train(argv[1], std::atoll(argv[2]), nullptr);
        } else {
            const OwnedStream stream;
            Device device(0, stream);
            train(argv[1], std::atoll(argv[2]), &device);
        }
    } catch (const std::exception& error) {
        std::fprintf(stderr, "embed: %s\n", error.what());
        return 1;
    }
}
