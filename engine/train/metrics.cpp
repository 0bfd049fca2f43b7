#include "engine/train/metrics.h"

#include <algorithm>
#include <chrono>
#include <fstream>

#include "engine/files/json.h"

namespace cloze {
namespace {

namespace fs = std::filesystem;

fs::path log_file(const fs::path& run_folder) {
    return run_folder / kMetricsLog;
}

/// Whether the line is of that type; other hands may have written anything.
bool is_of_type(const Json& line, const char* type) {
    const auto found = line.find("type");
    return found != line.end() && *found == type;
}

std::int64_t step_of(const Json& line) {
    const auto found = line.find("step");
    return found != line.end() && found->is_number_integer() ? found->get<std::int64_t>() : 0;
}

/// Calls body(line, parsed) for each line that is a JSON object.
template <typename Body>
void for_each_line(const fs::path& file, const Body& body) {
    std::ifstream in(file);
    for (std::string line; std::getline(in, line);) {
        const Json json = Json::parse(line, nullptr, false);
        if (json.is_object()) body(line, json);
    }
}

/// The log's file without the steps after `resumed_step`, and where that was the last one without its evaluation.
fs::path cut_log(const fs::path& run_folder, std::int64_t resumed_step, bool finished) {
    const fs::path file = log_file(run_folder);
    if (!fs::exists(file)) return file;
    std::string kept;
    for_each_line(file, [&](const std::string& line, const Json& json) {
        const std::int64_t step = step_of(json);
        const bool repeated = finished && step == resumed_step && is_of_type(json, "evaluation");
        if (step <= resumed_step && !repeated) kept += line + "\n";
    });
    write_file_atomic(file, kept);
    return file;
}

double now() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

MetricsLog::MetricsLog(const fs::path& run_folder, std::int64_t resumed_step, bool finished)
    : log_(cut_log(run_folder, resumed_step, finished)) {}

void MetricsLog::append(const Progress& progress) {
    Json json = {{"type", "train"},
                 {"time", now()},
                 {"step", progress.step},
                 {"loss", progress.loss},
                 {"masked_lm_loss", progress.masked_loss},
                 {"masked_lm_accuracy", progress.masked_accuracy},
                 {"next_sentence_loss", progress.next_sentence_loss},
                 {"next_sentence_accuracy", progress.next_sentence_accuracy},
                 {"learning_rate", progress.learning_rate},
                 {"gradient_norm", progress.gradient_norm},
                 {"sequences_per_second", progress.sequences_per_second},
                 {"tokens_per_second", progress.tokens_per_second},
                 {"tflops", progress.flops_per_second * 1e-12},
                 {"step_seconds", progress.step_seconds},
                 {"data_seconds", progress.data_seconds},
                 {"input_seconds", progress.times.input},
                 {"forward_seconds", progress.times.forward},
                 {"backward_seconds", progress.times.backward},
                 {"optimizer_seconds", progress.times.optimizer},
                 {"gap_seconds", std::max(0.0, progress.step_seconds - progress.times.sum())},
                 {"epoch", progress.epoch},
                 {"sequences_seen", progress.sequences_seen},
                 {"fill", progress.fill},
                 {"skipped", progress.skipped}};
    if (progress.utilization) json["model_flops_utilization"] = *progress.utilization;
    log_.append(json.dump());
}

void MetricsLog::append(const Evaluation& evaluation) {
    const Json json = {{"type", "evaluation"},
                       {"time", now()},
                       {"step", evaluation.step},
                       {"masked_lm_loss", evaluation.masked_loss},
                       {"masked_lm_accuracy", evaluation.masked_accuracy},
                       {"next_sentence_loss", evaluation.next_sentence_loss},
                       {"next_sentence_accuracy", evaluation.next_sentence_accuracy},
                       {"next_sentence_chance", evaluation.next_sentence_chance},
                       {"unigram_loss", evaluation.unigram_loss},
                       {"unigram_accuracy", evaluation.unigram_accuracy},
                       {"masked", evaluation.masked},
                       {"sequences", evaluation.sequences}};
    log_.append(json.dump());
}

std::vector<double> MetricsLog::loss_history(const fs::path& run_folder) {
    std::vector<double> history;
    for_each_line(log_file(run_folder), [&](const std::string&, const Json& json) {
        if (is_of_type(json, "train") && json.contains("loss") && json["loss"].is_number()) {
            history.push_back(json["loss"].get<double>());
        }
    });
    return history;
}

}  // namespace cloze
