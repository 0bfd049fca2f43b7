#include "benchmarks/bench/case.h"
#include "kernels/column_sum.h"
#include "kernels/cross_entropy.h"
#include "kernels/rows.h"

namespace cloze::bench {

namespace {

constexpr Spread kLogits{0, 2};

struct Shape {
    std::int64_t tokens, masked, cols;
    DType dtype;
};

/// `count` distinct rows of `rows`, ascending, at random distances.
std::vector<std::int32_t> random_rows(std::int64_t count, std::int64_t rows) {
    RandomStream random({.seed = 3, .purpose = RandomPurpose::masking});
    const auto room = static_cast<std::uint32_t>(rows / count);
    std::vector<std::int32_t> index;
    for (std::int64_t i = 0; i < count; ++i) {
        index.push_back(static_cast<std::int32_t>(i * rows / count + random.below(room)));
    }
    return index;
}

Case gather(const Shape& s) {
    return {.op = "rows_gather",
            .variant = "masked rows",
            .sizes = {{"rows", s.masked}, {"of", s.tokens}, {"cols", s.cols}},
            .dtype = s.dtype,
            .cost = rows_gather_cost(s.masked, s.cols, s.dtype),
            .prepare = [=](DeviceSet& set) -> Call {
                const RowsGather arguments{.y = set.output(s.dtype, s.masked, s.cols),
                                           .x = set.random(s.dtype, s.tokens, s.cols),
                                           .index = set.values(random_rows(s.masked, s.tokens)),
                                           .used = set.one(static_cast<std::int32_t>(s.masked))};
                return {[=](Stream stream) { rows_gather(arguments, stream); }};
            }};
}

Case scatter(const Shape& s) {
    return {.op = "rows_scatter",
            .variant = "masked rows",
            .sizes = {{"rows", s.masked}, {"of", s.tokens}, {"cols", s.cols}},
            .dtype = s.dtype,
            .cost = rows_scatter_cost(s.masked, s.tokens, s.cols, s.dtype),
            .prepare = [=](DeviceSet& set) -> Call {
                const RowsScatter arguments{.x = set.output(s.dtype, s.tokens, s.cols),
                                            .y = set.random(s.dtype, s.masked, s.cols),
                                            .index = set.values(random_rows(s.masked, s.tokens)),
                                            .used = set.one(static_cast<std::int32_t>(s.masked)),
                                            .accumulate = false};
                return {[=](Stream stream) { rows_scatter(arguments, stream); }};
            }};
}

/// cols of the shape: the width of the logits.
Case cross_entropy_case(const Shape& s, std::int64_t classes, bool gradient) {
    return {.op = "cross_entropy",
            .variant = gradient ? "loss and gradient" : "loss",
            .sizes = {{"rows", s.masked}, {"classes", classes}},
            .dtype = s.dtype,
            .cost = cross_entropy_cost(s.masked, classes, s.dtype, gradient),
            .prepare = [=](DeviceSet& set) -> Call {
                std::vector<std::int32_t> label;
                RandomStream random({.seed = 4, .purpose = RandomPurpose::masking});
                for (std::int64_t row = 0; row < s.masked; ++row) {
                    label.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint32_t>(classes))));
                }
                const Tensor logits = set.random(s.dtype, s.masked, s.cols, kLogits);
                const CrossEntropy arguments{.loss = set.output(DType::f32, s.masked),
                                             .correct = set.output(DType::i32, s.masked),
                                             .logits = logits,
                                             .label = set.values(label),
                                             .used = set.one(static_cast<std::int32_t>(s.masked)),
                                             .scale = set.one(1.0 / static_cast<double>(s.masked)),
                                             .classes = classes,
                                             .gradient = gradient};
                const Call call{[=](Stream stream) { cross_entropy(arguments, stream); }};
                if (!gradient) return call;
                // The gradient replaces the logits.
                const Tensor kept = set.random(s.dtype, s.masked, s.cols, kLogits);
                return {call.run, [=](Stream stream) {
                            copy_on_device(logits.address, kept.address, kept.count() * size_of(kept.dtype), stream);
                        }};
            }};
}

Case column_sum_case(std::int64_t rows, std::int64_t cols, DType dtype, const char* variant) {
    return {.op = "column_sum",
            .variant = variant,
            .sizes = {{"rows", rows}, {"cols", cols}},
            .dtype = dtype,
            .cost = column_sum_cost(rows, cols, dtype),
            .prepare = [=](DeviceSet& set) -> Call {
                const ColumnSum arguments{.sum = set.output(DType::f32, cols),
                                          .scratch = set.output(DType::f32, column_sum_scratch(rows, cols)),
                                          .x = set.random(dtype, rows, cols),
                                          .accumulate = false};
                return {[=](Stream stream) { column_sum(arguments, stream); }};
            }};
}

}  // namespace

std::vector<Case> head_cases(const CaseSettings& settings) {
    std::vector<Case> cases;
    for (const ModelSizes& model : settings.models) {
        for (const std::int64_t tokens : settings.tokens) {
            const Shape rows{tokens, masked_rows(tokens), model.hidden, settings.dtype};
            cases.push_back(gather(rows));
            cases.push_back(scatter(rows));
            cases.push_back(column_sum_case(tokens, 3 * model.hidden, settings.dtype, "qkv bias"));
        }
    }
    const ModelSizes& model = settings.models.back();  // the head's width is no matter of hidden
    for (const std::int64_t tokens : settings.tokens) {
        const Shape logits{tokens, masked_rows(tokens), model.padded_vocabulary, settings.dtype};
        cases.push_back(cross_entropy_case(logits, model.vocabulary, true));
        cases.push_back(cross_entropy_case(logits, model.vocabulary, false));
        cases.push_back(column_sum_case(logits.masked, logits.cols, settings.dtype, "decoder bias"));
    }
    return cases;
}

}  // namespace cloze::bench
