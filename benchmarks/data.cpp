// What the data side costs, on a text of the user's: preparing (MB/s), planning an epoch, making samples, packing and
// assembling micro-batches (samples/s), and how full the micro-batches are. One thread; medians of five rounds in
// processor time, so that a busy machine distorts them less and waiting for the disk does not count.
//
//   benchmark_data VOCAB TEXT... [--max-seq-length N] [--global-batch-size N]
#include <CLI/CLI.hpp>
#include <algorithm>
#include <ctime>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <string>
#include <vector>

#include "engine/data/batch_stream.h"
#include "engine/data/prepare.h"
#include "engine/data/step_shape.h"
#include "engine/files/write.h"

namespace {

using namespace cloze;

/// Median processor seconds of five calls.
template <typename Body>
double seconds(const Body& body) {
    std::vector<double> rounds;
    for (int round = 0; round < 5; ++round) {
        const std::clock_t start = std::clock();
        body();
        rounds.push_back(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
    }
    std::ranges::sort(rounds);
    return rounds[2];
}

void line(const std::string& what, double value, const std::string& unit) {
    std::cout << std::left << std::setw(44) << what << std::right << std::setw(14) << std::fixed
              << std::setprecision(value < 100 ? 4 : 0) << value << "  " << unit << "\n";
}

struct Arguments {
    std::string vocabulary;
    std::vector<std::string> inputs;
    std::int64_t max_seq_length = 128;
    std::int64_t global_batch_size = 256;
};

void measure(const Arguments& arguments) {
    const std::filesystem::path folder = std::filesystem::temp_directory_path() / "cloze-data-benchmark";
    const Vocabulary vocabulary = Vocabulary::read(arguments.vocabulary);
    DatasetInfo info;
    const double prepare = seconds([&] {
        info = prepare_dataset(
            vocabulary,
            {.inputs = {arguments.inputs.begin(), arguments.inputs.end()}, .output = folder, .overwrite = true});
    });
    line("prepare", static_cast<double>(info.text.bytes) / prepare * 1e-6, "MB/s");
    line("  tokens of training", static_cast<double>(info.split(Split::train).tokens), "");

    const Dataset dataset = Dataset::open(folder);
    line("verify", 1e3 * seconds([&] { dataset.verify(); }), "ms");
    const auto sampler = std::make_shared<const Sampler>(dataset.tokens(Split::train),
                                                         SampleSettings{.max_seq_length = arguments.max_seq_length},
                                                         token_roles(vocabulary));
    const EpochPlan plan(*sampler, 0, 1);
    const auto samples = static_cast<double>(plan.samples());
    line("samples of an epoch", samples, "");
    line("mean length", plan.mean_length(), "tokens");
    line("plan an epoch", samples / seconds([&] { EpochPlan(*sampler, 0, 1); }), "samples/s");
    Sample sample;
    line("make samples, in the epoch's order", samples / seconds([&] {
                                                   for (std::uint64_t i = 0; i < plan.samples(); ++i)
                                                       sampler->make(plan.source(i), sample);
                                               }),
         "samples/s");

    const StepShape shape = derive_step_shape({.global_batch_size = arguments.global_batch_size,
                                               .micro_batch_tokens = 16384,
                                               .virtual_ranks = 1,
                                               .max_position_embeddings = arguments.max_seq_length},
                                              *sampler, plan);
    line("micro-batches of a step", static_cast<double>(shape.micro_batches), "");
    line("  tokens, sequences, predictions of each", static_cast<double>(shape.capacity.tokens),
         text("tokens, ", shape.capacity.sequences, ", ", shape.capacity.masked));
    line("sequences of a step, mean", shape.sequences_per_step, "");
    const BatchStreamSettings settings{
        .capacity = shape.capacity, .micro_batches = shape.micro_batches, .prefetch_threads = 0};
    const BatchLimits limits{.vocabulary_size = vocabulary.size(), .positions = arguments.max_seq_length};
    double sequences = 0, fill = 0;
    const double stream_seconds = seconds([&] {
        BatchStream stream(sampler, settings, limits);
        while (stream.epochs() < 1) stream.next();
        sequences = static_cast<double>(stream.state().sequences);
        fill = stream.fill();
    });
    line("stream: plan, pack, make, assemble", sequences / stream_seconds, "samples/s");
    line("fill of the micro-batches", fill, "");
    remove_tree(folder);
}

}  // namespace

int main(int count, char** values) {
    Arguments arguments;
    CLI::App app("What the data side costs");
    app.add_option("vocabulary", arguments.vocabulary)->required();
    app.add_option("inputs", arguments.inputs)->required();
    app.add_option("--max-seq-length", arguments.max_seq_length);
    app.add_option("--global-batch-size", arguments.global_batch_size);
    CLI11_PARSE(app, count, values);
    try {
        measure(arguments);
    } catch (const cloze::Error& error) {
        std::cerr << "benchmark_data: " << error.what() << "\n";
        return 1;
    }
    return 0;
}
