#include "kernels/embedding.h"

#include <algorithm>
#include <numeric>

#include "tests/kernels/op_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

// Rows sorted by id, stable, rows of padding last: as a batch brings it.
Array order_of(const Array& id, std::int64_t tokens) {
    std::vector<std::int32_t> rows(static_cast<std::size_t>(id.cols()));
    std::iota(rows.begin(), rows.end(), 0);
    std::stable_sort(rows.begin(), rows.end(), [&](std::int32_t a, std::int32_t b) {
        if ((a < tokens) != (b < tokens)) return a < tokens;
        return a < tokens && id[a] < id[b];
    });
    Array order(DType::i32, id.cols());
    for (std::int64_t i = 0; i < id.cols(); ++i) order.set(i, rows[static_cast<std::size_t>(i)]);
    return order;
}

struct Shape {
    std::int64_t rows, tokens, hidden;
    std::int32_t words = 9, positions = 6, types = 2;
};

struct Case {
    Shape shape;
    Array token_id, position_id, type_id, token_order, position_order, type_order;
    Array word, position, type, gamma, beta, dy;
    double probability;
    StepState state;
    BatchCounts counts;
    Array row_sample;

    Case(DType dtype, Shape s, double p)
        : shape(s),
          token_id(random_ids(s.rows, s.words - 1, 1)),  // the last word is never used
          position_id(random_ids(s.rows, s.positions, 2)),
          type_id(random_ids(s.rows, s.types, 3)),
          token_order(order_of(token_id, s.tokens)),
          position_order(order_of(position_id, s.tokens)),
          type_order(order_of(type_id, s.tokens)),
          word(random_array(dtype, s.words, s.hidden, 4)),
          position(random_array(dtype, s.positions, s.hidden, 5)),
          type(random_array(dtype, s.types, s.hidden, 6)),
          gamma(random_array(dtype, 1, s.hidden, 7, 0.5, 1.5)),
          beta(random_array(dtype, 1, s.hidden, 8)),
          dy(random_array(dtype, s.rows, s.hidden, 9)),
          probability(p),
          row_sample(DType::u64, s.rows) {
        state.dropout_key = step_dropout_key(5, 6);
        counts.tokens = static_cast<std::int32_t>(s.tokens);
        for (std::int64_t row = 0; row < s.rows; ++row) row_sample.set(row, static_cast<double>(row));
    }

    DType dtype() const { return word.dtype(); }
    DType statistics() const { return statistics_dtype(dtype()); }
    HiddenDropout dropout() const {
        if (probability == 0) return {};
        return {probability, 0, DropoutSite::embedding, &state, row_sample.tensor(), position_id.tensor()};
    }
    Case widened() const {
        Case wide = *this;
        for (Array* array : {&wide.word, &wide.position, &wide.type, &wide.gamma, &wide.beta, &wide.dy}) {
            *array = array->as(DType::f64);
        }
        return wide;
    }
};

struct Forward {
    Array y, sum, mean, rstd;
};

Forward forward(const Case& c) {
    const std::int64_t rows = c.shape.rows, hidden = c.shape.hidden;
    Forward out{Array(c.dtype(), rows, hidden), Array(c.dtype(), rows, hidden), Array(c.statistics(), rows),
                Array(c.statistics(), rows)};
    embedding_forward({.y = out.y.tensor(),
                       .sum = out.sum.tensor(),
                       .mean = out.mean.tensor(),
                       .rstd = out.rstd.tensor(),
                       .token_id = c.token_id.tensor(),
                       .position_id = c.position_id.tensor(),
                       .type_id = c.type_id.tensor(),
                       .word = c.word.tensor(),
                       .position = c.position.tensor(),
                       .type = c.type.tensor(),
                       .gamma = c.gamma.tensor(),
                       .beta = c.beta.tensor(),
                       .epsilon = 1e-12,
                       .dropout = c.dropout()},
                      {});
    for (const Array* array : {&out.y, &out.sum, &out.mean, &out.rstd}) CHECK(array->guards_hold());
    return out;
}

struct Gradients {
    Array dword, dposition, dtoken_type, dgamma, dbeta;

    std::vector<Array> all() const { return {dword, dposition, dtoken_type, dgamma, dbeta}; }
};

// Fresh gradients hold NaN: whatever is not overwritten shows.
Gradients fresh(const Case& c) {
    const DType statistics = c.statistics();
    return {Array(statistics, c.shape.words, c.shape.hidden), Array(statistics, c.shape.positions, c.shape.hidden),
            Array(statistics, c.shape.types, c.shape.hidden), Array(statistics, c.shape.hidden),
            Array(statistics, c.shape.hidden)};
}

// With accumulate the gradients are added to `out`, else they overwrite it.
Gradients backward(const Case& c, const Forward& kept, Gradients out, bool accumulate, bool accumulate_word,
                   bool in_place = false) {
    Array dsum = in_place ? c.dy : Array(c.dtype(), c.shape.rows, c.shape.hidden);
    Array scratch(c.statistics(), embedding_backward_scratch(c.shape.rows, c.shape.hidden));
    embedding_backward({.dword = out.dword.tensor(),
                        .dposition = out.dposition.tensor(),
                        .dtoken_type = out.dtoken_type.tensor(),
                        .dgamma = out.dgamma.tensor(),
                        .dbeta = out.dbeta.tensor(),
                        .dsum = dsum.tensor(),
                        .scratch = scratch.tensor(),
                        .dy = in_place ? dsum.tensor() : c.dy.tensor(),
                        .sum = kept.sum.tensor(),
                        .mean = kept.mean.tensor(),
                        .rstd = kept.rstd.tensor(),
                        .gamma = c.gamma.tensor(),
                        .token_id = c.token_id.tensor(),
                        .token_order = c.token_order.tensor(),
                        .position_id = c.position_id.tensor(),
                        .position_order = c.position_order.tensor(),
                        .type_id = c.type_id.tensor(),
                        .type_order = c.type_order.tensor(),
                        .counts = &c.counts,
                        .accumulate = accumulate,
                        .accumulate_word = accumulate_word,
                        .dropout = c.dropout()},
                       {});
    for (const Array& array : out.all()) CHECK(array.guards_hold());
    CHECK(dsum.guards_hold());
    CHECK(scratch.guards_hold());
    return out;
}

Gradients backward(const Case& c, const Forward& kept) {
    return backward(c, kept, fresh(c), false, false);
}

// The tokens' share of the loss: rows of padding have none.
double loss_of(const Case& c) {
    const Array y = forward(c).y;
    double sum = 0;
    for (std::int64_t i = 0; i < c.shape.tokens * c.shape.hidden; ++i) sum += y[i] * c.dy[i];
    return sum;
}

}  // namespace

TEST_CASE("embedding backward equals finite differences in every table and parameter") {
    for (const double probability : {0.0, 0.3}) {
        Case c(DType::f64, {.rows = 23, .tokens = 19, .hidden = 11}, probability);
        const Gradients gradients = backward(c, forward(c));
        const auto loss = [&] { return loss_of(c); };
        check_gradient("word", c.word, gradients.dword, loss);
        check_gradient("position", c.position, gradients.dposition, loss);
        check_gradient("type", c.type, gradients.dtoken_type, loss);
        check_gradient("gamma", c.gamma, gradients.dgamma, loss);
        check_gradient("beta", c.beta, gradients.dbeta, loss);
    }
}

TEST_CASE("embedding backward adds each id's tokens wherever its run meets the pieces of the order") {
    // Few ids make runs over many pieces, many ids runs within one; token counts around the piece.
    for (const std::int64_t tokens : {0, 1, 64, 65, 128, 200}) {
        for (const std::int32_t ids : {2, 40, 150}) {
            Case c(DType::f64, {.rows = 200, .tokens = tokens, .hidden = 5, .words = ids, .positions = ids}, 0);
            const Forward kept = forward(c);
            Gradients gradients = backward(c, kept);
            // dsum of a token is the gradient of a table with one row per token.
            Case single(DType::f64, {.rows = 200, .tokens = tokens, .hidden = 5, .words = 201, .positions = ids}, 0);
            for (std::int64_t row = 0; row < 200; ++row) single.token_id.set(row, static_cast<double>(row));
            single.token_order = order_of(single.token_id, tokens);
            const Array dsum = backward(single, kept).dword;
            Array expected(DType::f64, ids, 5);
            expected.fill(0);
            for (std::int64_t row = 0; row < tokens; ++row) {
                const auto id = static_cast<std::int64_t>(c.token_id[row]);
                for (std::int64_t col = 0; col < 5; ++col) {
                    expected.set(id, col, expected.get(id, col) + dsum.get(row, col));
                }
            }
            INFO(tokens << " tokens, " << ids << " ids");
            CHECK(distance(gradients.dword, expected) < 1e-13);
        }
    }
}

TEST_CASE("embedding in f32 and bf16 differs from f64 by rounding only") {
    for (const DType dtype : {DType::f32, DType::bf16}) {
        for (const std::int64_t hidden : {31, 257, 768}) {
            for (const double probability : {0.0, 0.1}) {
                const Case c(dtype, {.rows = 140, .tokens = 133, .hidden = hidden}, probability), wide = c.widened();
                const Forward got = forward(c), exact = forward(wide);
                INFO(name_of(dtype) << " hidden " << hidden << " dropout " << probability);
                const double store = rounding_of(dtype);
                CHECK(distance(got.sum, exact.sum) <= store + 2e-7);
                // y is computed from the sum as stored: its rounding, and that of y itself.
                CHECK(distance(got.y, exact.y) <= 2 * store + 3e-6);
                const Forward kept{Array(), got.sum.as(DType::f64), got.mean.as(DType::f64), got.rstd.as(DType::f64)};
                const std::vector<Array> gradients = backward(c, got).all(), expected = backward(wide, kept).all();
                // The tables add dsum as stored, over at most 133 tokens; dgamma and dbeta add what is not rounded.
                for (std::size_t i = 0; i < gradients.size(); ++i) {
                    INFO("gradient " << i);
                    CHECK(distance(gradients[i], expected[i]) <= (i < 3 ? 10 * store : 0) + 1e-5);
                }
            }
        }
    }
}

TEST_CASE("embedding backward overwrites whole tables, or adds to them, each as asked") {
    for (const double probability : {0.0, 0.2}) {
        const Case c(DType::f64, {.rows = 100, .tokens = 90, .hidden = 12}, probability);
        const Forward kept = forward(c);
        const Gradients plain = backward(c, kept);
        for (std::int64_t col = 0; col < 12; ++col) CHECK(plain.dword.get(c.shape.words - 1, col) == 0);

        Gradients ones = fresh(c);
        for (Array* array : {&ones.dword, &ones.dposition, &ones.dtoken_type, &ones.dgamma, &ones.dbeta})
            array->fill(1);
        const auto plus_one = [](Array array) {
            for (std::int64_t i = 0; i < array.count(); ++i) array.set(i, array[i] + 1);
            return array;
        };
        const Gradients all = backward(c, kept, ones, true, true);
        for (std::size_t i = 0; i < 5; ++i) CHECK(distance(all.all()[i], plus_one(plain.all()[i])) < 1e-14);
        const Gradients word_only = backward(c, kept, ones, false, true);
        CHECK(distance(word_only.dword, plus_one(plain.dword)) < 1e-14);
        CHECK(word_only.dposition.same_bits(plain.dposition));
        const Gradients in_place = backward(c, kept, fresh(c), false, false, true);
        for (std::size_t i = 0; i < 5; ++i) CHECK(in_place.all()[i].same_bits(plain.all()[i]));
    }
}

TEST_CASE("rows of padding change no gradient, whatever they hold") {
    const Shape shape{.rows = 90, .tokens = 70, .hidden = 12};
    Case c(DType::f32, shape, 0.1);
    const Gradients plain = backward(c, forward(c));
    for (std::int64_t row = shape.tokens; row < shape.rows; ++row) {
        c.token_id.set(row, 0);
        for (std::int64_t col = 0; col < shape.hidden; ++col) c.dy.set(row, col, NAN);
    }
    const Gradients again = backward(c, forward(c));
    for (std::size_t i = 0; i < 5; ++i) CHECK(again.all()[i].same_bits(plain.all()[i]));
}

TEST_CASE("embedding has the same bits at any number of threads and accepts no rows") {
    const Case c(DType::f32, {.rows = 300, .tokens = 290, .hidden = 300}, 0.1);
    check_repeatable([&] {
        const Forward f = forward(c);
        std::vector<Array> outputs = backward(c, f).all();
        outputs.insert(outputs.end(), {f.y, f.sum, f.mean, f.rstd});
        return outputs;
    });
    const Case none(DType::f32, {.rows = 0, .tokens = 0, .hidden = 16}, 0.1);
    for (const Array& gradient : backward(none, forward(none)).all()) {
        for (std::int64_t i = 0; i < gradient.count(); ++i) CHECK(gradient[i] == 0);
    }
}

TEST_CASE("embedding refuses what its contract excludes") {
    Case c(DType::f32, {.rows = 4, .tokens = 3, .hidden = 8}, 0);
    const Array y(DType::f32, 4, 8), sum(DType::f32, 4, 8), mean(DType::f32, 4), rstd(DType::f32, 4);
    const auto message = [&](auto change) {
        EmbeddingForward a{.y = y.tensor(),
                           .sum = sum.tensor(),
                           .mean = mean.tensor(),
                           .rstd = rstd.tensor(),
                           .token_id = c.token_id.tensor(),
                           .position_id = c.position_id.tensor(),
                           .type_id = c.type_id.tensor(),
                           .word = c.word.tensor(),
                           .position = c.position.tensor(),
                           .type = c.type.tensor(),
                           .gamma = c.gamma.tensor(),
                           .beta = c.beta.tensor(),
                           .epsilon = 1e-12};
        change(a);
        return error_of([&] { embedding_forward(a, {}); });
    };
    CHECK(message([](EmbeddingForward&) {}).empty());
    CHECK(message([](EmbeddingForward& a) { a.epsilon = NAN; }).find("epsilon is nan") != std::string::npos);
    CHECK(message([](EmbeddingForward& a) { a.word.cols = a.word.stride = 7; }).find("word must be f32 [9, 8]") !=
          std::string::npos);
    CHECK(message([](EmbeddingForward& a) { a.sum = a.y; }).find("y shares memory with sum") != std::string::npos);
    CHECK(message([](EmbeddingForward& a) { a.type_id = {}; }).find("type_id must be i32 [1, 4]") != std::string::npos);
    CHECK(message([](EmbeddingForward& a) { a.word.place = Place::device; }).find("one place") != std::string::npos);

    const Forward kept = forward(c);
    c.counts.tokens = 5;
    CHECK(error_of([&] { backward(c, kept); }) ==
          "usage: embedding_backward: counts->tokens is 5, but there are 4 rows");
    c.counts.tokens = 3;
    Gradients shared = fresh(c);
    shared.dbeta = Array(DType::f32, 7);
    CHECK(error_of([&] { backward(c, kept, shared, false, false); }).find("dbeta must be f32 [1, 8]") !=
          std::string::npos);
}

TEST_CASE("embedding's cost counts each byte once") {
    const EmbeddingSizes sizes{.tokens = 10, .hidden = 8, .word_rows = 100, .positions = 6, .types = 2};
    constexpr std::int64_t kIds = 10 * 4, kStatistics = 2 * 10 * 4;
    CHECK(embedding_forward_cost(sizes, DType::bf16).bytes ==
          (2 * 10 + 10 + 6 + 2 + 2) * 8 * 2 + kStatistics + 3 * kIds);
    CHECK(embedding_backward_cost(sizes, DType::bf16, false, false).bytes ==
          (3 * 10 + 1) * 8 * 2 + (100 + 6 + 2 + 2) * 8 * 4 + kStatistics + 6 * kIds);
    CHECK(embedding_backward_cost(sizes, DType::f32, true, true).bytes ==
          (3 * 10 + 1) * 8 * 4 + 2 * (10 + 6 + 2 + 2) * 8 * 4 + kStatistics + 6 * kIds);
}
