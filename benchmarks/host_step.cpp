// Times optimizer steps on the host: forward, backward, clipping, AdamW. With --export it also writes what it ran on,
// so that benchmarks/host_step.py can give PyTorch the same weights and the same batches.
//
//   host_step --model mini --vocab-size 8000 --threads 2 --steps 20 [--data DATASET] [--export FOLDER]
//
// Samples are made by the sampler of the engine: from a dataset of `cloze prepare`, or else from documents of random
// token ids whose sentences have 8 to 40 tokens. Prints one JSON object: seconds and loss of each step.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <iostream>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "engine/data/batch_stream.h"
#include "engine/data/dataset.h"
#include "engine/data/step_shape.h"
#include "engine/device/gemm.h"
#include "engine/model/weights_file.h"
#include "engine/train/trainer.h"

namespace {

using namespace cloze;

struct Options {
    std::string model = "tiny";
    std::int64_t vocab_size = 30522;
    std::int64_t max_seq_length = 128;
    std::int64_t batch_size = 32;  // sequences of a step, one micro-batch
    double dropout = 0.1;
    int threads = 2;
    int warmup = 3;
    int steps = 20;
    std::string data;
    std::string export_folder;
};

/// Ids grow rarer as 1/rank, as words do; 300 documents of 10 to 60 sentences.
std::shared_ptr<const TokenStore> random_documents(std::int64_t vocab_size) {
    RandomStream random({.seed = 1, .purpose = RandomPurpose::document_walk});
    const double span = std::log(static_cast<double>(vocab_size - 5));
    TokenArrays arrays;
    for (int document = 0; document < 300; ++document) {
        const std::uint32_t sentences = 10 + random.below(51);
        for (std::uint32_t sentence = 0; sentence < sentences; ++sentence) {
            std::vector<std::int32_t> ids(8 + random.below(33));
            for (std::int32_t& id : ids) {
                id = 4 + static_cast<std::int32_t>(std::exp(span * static_cast<double>(random.uniform())));
            }
            arrays.add_sentence(ids);
        }
        arrays.end_document();
    }
    return store_in_memory(std::move(arrays), "random documents");
}

std::shared_ptr<const Sampler> make_sampler(const Options& options) {
    const SampleSettings settings = {.max_seq_length = options.max_seq_length};
    if (!options.data.empty()) {
        const Dataset dataset = Dataset::open(options.data);
        require(dataset.info().vocabulary_size <= options.vocab_size, "host_step: the dataset's vocabulary of ",
                dataset.info().vocabulary_size, " does not fit --vocab-size ", options.vocab_size);
        return std::make_shared<Sampler>(dataset.tokens(Split::train), settings, token_roles(dataset.vocabulary()));
    }
    const TokenRoles roles = {
        .vocabulary_size = options.vocab_size,
        .cls = 2,
        .sep = 3,
        .mask = 4,
        .continues_word = std::vector<std::uint8_t>(static_cast<std::size_t>(options.vocab_size))};
    return std::make_shared<Sampler>(random_documents(options.vocab_size), settings, roles);
}

BertConfig make_config(const Options& options) {
    BertConfig config = config_from(options.model);
    config.vocab_size = options.vocab_size;
    config.hidden_dropout_prob = options.dropout;
    config.attention_probs_dropout_prob = options.dropout;
    return config;
}

std::vector<StepBatches> make_steps(const Options& options, const BertConfig& config, BatchCapacity& capacity) {
    const auto sampler = make_sampler(options);
    const StepShape shape = derive_step_shape({.global_batch_size = options.batch_size,
                                               .micro_batch_tokens = options.batch_size * options.max_seq_length,
                                               .virtual_ranks = 1,
                                               .max_position_embeddings = config.max_position_embeddings},
                                              *sampler, EpochPlan(*sampler, 0, options.threads));
    capacity = shape.capacity;
    require(shape.micro_batches == 1, "host_step: the step came out as ", shape.micro_batches, " micro-batches");
    BatchStream stream(sampler, {.capacity = capacity, .prefetch_threads = 0},
                       {.vocabulary_size = config.vocab_size, .positions = config.max_position_embeddings});
    std::vector<StepBatches> steps;
    for (int i = 0; i < options.warmup + options.steps; ++i) steps.push_back(stream.next());
    return steps;
}

/// What is in use of each step's arrays, as `step.N.name`.
void export_run(const Options& options, const BertConfig& config, const std::vector<StepBatches>& steps,
                const Trainer& trainer) {
    const std::filesystem::path folder = options.export_folder;
    std::filesystem::create_directories(folder);
    const auto write = [&](const char* name, const std::vector<TensorToStore>& tensors) {
        std::filesystem::remove(folder / name);
        OutputFile file(folder / name);
        write_safetensors(file, tensors);
        file.finish();
    };
    std::vector<TensorToStore> tensors;
    for (std::size_t i = 0; i < steps.size(); ++i) {
        const Batch& batch = steps[i].micro.front();
        const auto add = [&](const char* name, const std::vector<std::int32_t>& values, std::int32_t used) {
            const std::span all(values);
            tensors.push_back(tensor_to_store<std::int32_t>("step." + std::to_string(i) + "." + name, {used},
                                                            all.first(static_cast<std::size_t>(used))));
        };
        add("token_id", batch.token_id, batch.counts.tokens);
        add("type_id", batch.type_id, batch.counts.tokens);
        add("offset", batch.offset, batch.counts.sequences + 1);
        add("next_sentence_label", batch.next_sentence_label, batch.counts.sequences);
        add("masked_row", batch.masked_row, batch.counts.masked);
        add("masked_label", batch.masked_label, batch.counts.masked);
    }
    write("batches.safetensors", tensors);
    write("model.safetensors", tensors_to_store(trainer.weights()));
    write_file_atomic(folder / "config.json", config_json(config, "BertForPreTraining"));
}

Json run(const Options& options) {
    const BertConfig config = make_config(options);
    BatchCapacity capacity;
    const std::vector<StepBatches> steps = make_steps(options, config, capacity);
    Trainer trainer(config, {.model = {.capacity = capacity},
                             .optimizer = {.schedule = {.kind = ScheduleKind::constant,
                                                        .base = 1e-4,
                                                        .warmup_steps = 0,
                                                        .total_steps = 1000}},
                             .seed = 1,
                             .micro_batches = 1});
    initialize(trainer.weights(), config.initializer_range, 1, Initialization::truncated_normal);
    if (!options.export_folder.empty()) export_run(options, config, steps, trainer);

    Json seconds = Json::array(), losses = Json::array();
    std::int64_t tokens = 0, sequences = 0;
    for (std::size_t i = 0; i < steps.size(); ++i) {
        const auto start = std::chrono::steady_clock::now();
        const StepReport report = trainer.step(steps[i]);
        const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
        losses.push_back(report.losses.masked_mean() + report.losses.next_sentence_mean());
        if (static_cast<int>(i) < options.warmup) continue;
        seconds.push_back(elapsed.count());
        tokens += steps[i].tokens;
        sequences += steps[i].sequences;
    }
    return {{"matrix_library", host_gemm_library()},
            {"parameters", trainer.table().parameter_count()},
            {"capacity_tokens", capacity.tokens},
            {"memory_bytes", trainer.memory_bytes()},
            {"mean_tokens", static_cast<double>(tokens) / options.steps},
            {"mean_sequences", static_cast<double>(sequences) / options.steps},
            {"seconds", seconds},
            {"losses", losses}};
}

}  // namespace

int main(int argc, char** argv) {
    Options options;
    CLI::App app("Times optimizer steps on the host");
    app.add_option("--model", options.model, "preset or config.json");
    app.add_option("--vocab-size", options.vocab_size);
    app.add_option("--max-seq-length", options.max_seq_length);
    app.add_option("--batch-size", options.batch_size, "sequences of a step");
    app.add_option("--dropout", options.dropout);
    app.add_option("--threads", options.threads);
    app.add_option("--warmup", options.warmup, "steps that are not counted");
    app.add_option("--steps", options.steps);
    app.add_option("--data", options.data, "a dataset of `cloze prepare`; random documents without it");
    app.add_option("--export", options.export_folder, "writes weights, configuration and batches there");
    CLI11_PARSE(app, argc, argv);
#ifdef _OPENMP
    omp_set_num_threads(options.threads);
#endif
    try {
        std::cout << run(options).dump() << std::endl;
    } catch (const Error& error) {
        std::cerr << error.what() << std::endl;
        return 1;
    }
    return 0;
}
