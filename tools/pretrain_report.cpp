#include "tools/pretrain_report.h"

#include "tools/format.h"

namespace cloze {
namespace {

constexpr int kSparklineColumns = 60;
constexpr int kMeterColumns = 24;
constexpr int kOpColumns = 30;

using Rows = std::vector<std::pair<std::string, std::string>>;

std::string batch_text(const RunRecipe& recipe, const Preflight& p) {
    const double each = p.sequences_per_step / static_cast<double>(p.micro_batches);
    return fixed(p.sequences_per_step, 1) + " sequences a step = " + counted(p.micro_batches, "micro-batch") + " x " +
           fixed(each, 1) + " (asked: " + grouped(recipe.global_batch_size) + "), " + grouped(p.capacity.tokens) +
           " tokens each";
}

std::string checkpoint_text(const Preflight& p) {
    return bytes_text(p.checkpoint_bytes) + " each, " + bytes_text(p.free_bytes) + " free";
}

/// Of what bounds the op: FLOPs of products and attention, else bytes.
std::string op_speed(const OpProfile& op) {
    if (!op.cost || op.seconds <= 0) return "";
    const bool multiplies = op.cost->product || op.op.starts_with("attention");
    const std::int64_t amount = multiplies ? op.cost->cost.flops : op.cost->cost.bytes;
    return scaled(static_cast<double>(amount) / op.seconds) + (multiplies ? "FLOP/s" : "B/s");
}

/// "460 TFLOP/s (46.5 % MFU)"
std::string speed_text(const Progress& p) {
    const std::string text = scaled(p.flops_per_second) + "FLOP/s";
    return p.utilization ? text + " (" + percent(*p.utilization) + " MFU)" : text;
}

/// Long and short form of one line of progress: a file has room, a terminal's line ends.
std::string long_line(const Progress& p, bool next_sentence) {
    std::string line = "step " + grouped(p.step) + "/" + grouped(p.steps) + "  loss " + fixed(p.loss, 4) + "  mlm " +
                       fixed(p.masked_loss, 4) + " (" + percent(p.masked_accuracy) + ")";
    if (next_sentence) {
        line += "  nsp " + fixed(p.next_sentence_loss, 4) + " (" + percent(p.next_sentence_accuracy) + ")";
    }
    return line + "  lr " + scientific(p.learning_rate, 2) + "  grad " + fixed(p.gradient_norm, 2) + "  " +
           scaled(p.sequences_per_second) + " seq/s  " + scaled(p.tokens_per_second) + " tok/s  " + speed_text(p) +
           "  ETA " + duration_text(p.seconds_left);
}

std::string short_line(const Progress& p, bool next_sentence) {
    std::string line = grouped(p.step) + "/" + grouped(p.steps) + "  ETA " + duration_text(p.seconds_left) + "  mlm " +
                       fixed(p.masked_loss, 3) + " " + percent(p.masked_accuracy);
    if (next_sentence) line += "  nsp " + fixed(p.next_sentence_loss, 3) + " " + percent(p.next_sentence_accuracy);
    line += "  " + scaled(p.sequences_per_second) + " seq/s  " + scaled(p.tokens_per_second) + " tok/s";
    return p.utilization ? line + "  " + percent(*p.utilization) + " MFU" : line;
}

}  // namespace

void report_preflight(Console& console, const RunRecipe& recipe, const Preflight& p) {
    console.clear_bar();
    console.heading(p.resumed_step > 0 ? "continuing at step " + grouped(p.resumed_step) : "new run");
    Rows rows = {
        {"data", counted(p.training_tokens, "token") + " in " + counted(p.training_documents, "document") + ", " +
                     grouped(p.held_out_documents) + " more held out"},
        {"samples", grouped(p.samples_per_epoch) + " an epoch, " + fixed(p.mean_sequence_tokens, 1) +
                        " tokens on average, at most " + grouped(recipe.samples.max_seq_length)},
        {"batch", batch_text(recipe, p)},
        {"run", counted(p.steps, "step") + " = " + fixed(p.epochs, 2) + " epochs; warm-up " +
                    counted(p.warmup_steps, "step") + "; seed " + std::to_string(recipe.samples.seed)},
        {"model", grouped(recipe.model.num_hidden_layers) + " layers x " + grouped(recipe.model.hidden_size) + ", " +
                      counted(p.parameters, "parameter")},
        {"memory", bytes_text(p.memory_bytes)},
        {"checkpoints", checkpoint_text(p)},
    };
    if (p.least_seconds > 0) {
        rows.emplace_back("time",
                          duration_text(p.least_seconds) + " at least: what the matrix products alone take here");
    }
    const std::string where = p.device.empty() ? counted(p.threads, "thread") : p.device;
    rows.emplace_back("work", scaled(p.step_flops) + "FLOP a step in " + name_of(recipe.precision) + "; " + where +
                                  ", " + p.matrix_library);
    console.table(rows);
    for (const std::string& note : p.notes) console.line("  note: " + note);
}

void report_progress(Console& console, const Progress& p, bool next_sentence) {
    if (p.skipped) {
        console.line("step " + grouped(p.step) + ": the gradient of " + p.first_nonfinite +
                     " is not finite; this update was skipped");
    }
    const double share = static_cast<double>(p.step) / static_cast<double>(p.steps);
    const bool bar = console.display().redraws;
    console.progress(share, bar ? short_line(p, next_sentence) : long_line(p, next_sentence));
}

Rows evaluation_rows(const Evaluation& e) {
    const double gain = e.unigram_loss - e.masked_loss;
    Rows rows = {
        {"masked LM", "loss " + fixed(e.masked_loss, 4) + ", accuracy " + percent(e.masked_accuracy)},
        {"unigram", "loss " + fixed(e.unigram_loss, 4) + ", accuracy " + percent(e.unigram_accuracy) +
                        ": the model is " + fixed(gain < 0 ? -gain : gain, 4) + " nat " +
                        (gain < 0 ? "worse" : "better")},
    };
    if (e.next_sentence) {
        rows.emplace_back("next sentence", "loss " + fixed(e.next_sentence_loss, 4) + ", accuracy " +
                                               percent(e.next_sentence_accuracy) +
                                               "; always the same answer: " + percent(e.next_sentence_chance));
    }
    rows.emplace_back("on", counted(e.masked, "prediction") + " in " + counted(e.sequences, "held-out sequence"));
    return rows;
}

void report_evaluation(Console& console, const Evaluation& e) {
    std::string line = "step " + grouped(e.step) + "  held out: mlm " + fixed(e.masked_loss, 4) + " (" +
                       percent(e.masked_accuracy) + "), unigram " + fixed(e.unigram_loss, 4);
    if (e.next_sentence) {
        line += ", nsp " + fixed(e.next_sentence_loss, 4) + " (" + percent(e.next_sentence_accuracy) + ")";
    }
    console.line(line);
}

void report_profile(Console& console, const StepProfile& profile, const std::filesystem::path& trace) {
    console.heading("profile of " + counted(profile.steps, "step") + " on " + profile.device);
    console.line("  " + left("op", kOpColumns) + right("launches", 9) + right("ms", 10) + right("share", 8) +
                 right("speed", 13) + right("of limit", 10));
    for (const OpProfile& op : profile.ops) {
        const double share = op.seconds / profile.op_seconds;
        console.line("  " + left(op.op, kOpColumns) + right(fixed(op.launches, 0), 9) +
                     right(fixed(1000 * op.seconds, 3), 10) + right(percent(share), 8) + right(op_speed(op), 13) +
                     right(op.limit_seconds > 0 ? percent(op.limit_seconds / op.seconds) : "", 10) + "  " +
                     meter(share, kMeterColumns, console.display().unicode));
    }
    Rows rows = {{"ops", fixed(1000 * profile.op_seconds, 3) + " ms a step in sum, launched one by one"}};
    if (profile.usual_seconds > 0) {
        const double rest = 1 - profile.op_seconds / profile.usual_seconds;
        rows.emplace_back("step", fixed(1000 * profile.usual_seconds, 3) + " ms from recorded graphs; " +
                                      percent(rest < 0 ? -rest : rest) +
                                      (rest < 0 ? " less than the ops in sum" : " of it no op explains"));
    }
    rows.emplace_back("trace", trace.string() + ", for ui.perfetto.dev");
    console.table(rows);
}

void report_result(Console& console, const RunResult& result) {
    console.clear_bar();
    console.heading("done after " + counted(result.steps_done, "step"));
    if (result.evaluation) console.table(evaluation_rows(*result.evaluation));
    const std::vector<double>& history = result.loss_history;
    if (history.size() > 1) {
        console.table({{"loss", sparkline(history, kSparklineColumns, console.display().unicode) + "  " +
                                    fixed(history.front(), 2) + " to " + fixed(history.back(), 2)}});
    }
    console.table({{"checkpoint", result.checkpoint.string()},
                   {"next", "cloze fill-mask --checkpoint " + result.checkpoint.string() + " \"... [MASK] ...\""}});
}

}  // namespace cloze
