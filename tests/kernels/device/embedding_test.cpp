#include "kernels/embedding.h"

#include <algorithm>
#include <memory>
#include <numeric>

#include "tests/kernels/device/device_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

/// Ids of a text, by how their runs lie in an order.
enum class Ids { mixed, skewed, same, distinct };

struct Form {
    std::int64_t padding = 0;  // of the rows, the last ones
    Ids ids = Ids::mixed;
    double probability = 0.1;
    bool accumulate = false;
    bool accumulate_word = true;
    bool in_place = false;  // dsum is dy
};

/// skewed: a third is one word, and the others grow rarer; two types, of which the first is most of the text.
Array ids_of(Ids ids, std::int64_t rows, std::int32_t below, std::uint64_t seed) {
    Array array = random_ids(rows, below, seed);
    for (std::int64_t row = 0; row < rows; ++row) {
        const auto id = static_cast<std::int64_t>(array[row]);
        if (ids == Ids::skewed) array.set(row, static_cast<double>(row % 3 == 0 ? below / 2 : id * id / below));
        if (ids == Ids::same) array.set(row, below - 1);
        if (ids == Ids::distinct) array.set(row, static_cast<double>((row * 7 + 3) % below));
    }
    return array;
}

/// Rows sorted by id, stable, rows of padding last: as a batch brings it.
Array order_of(const Array& id, std::int64_t tokens) {
    std::vector<std::int32_t> rows(static_cast<std::size_t>(id.cols()));
    std::iota(rows.begin(), rows.end(), 0);
    std::stable_sort(rows.begin(), rows.begin() + tokens,
                     [&](std::int32_t a, std::int32_t b) { return id[a] < id[b]; });
    Array order(DType::i32, id.cols());
    for (std::int64_t i = 0; i < id.cols(); ++i) order.set(i, rows[static_cast<std::size_t>(i)]);
    return order;
}

struct Case {
    DType dtype;
    std::int64_t rows, hidden, tokens, words;
    std::int32_t positions = 6, types = 2;
    Form form;
    Array token_id, position_id, type_id, token_order, position_order, type_order;
    Array word, position, type, gamma, beta, dy, sum, mean, rstd;  // backward starts from sum, mean and rstd
    Array dword, dposition, dtoken_type, dparameter;               // what was there before
    StepState state;
    BatchCounts counts;
    Array row_sample;

    Case(DType t, std::int64_t r, std::int64_t h, Form f = {})
        : dtype(t),
          rows(r),
          hidden(h),
          tokens(r - f.padding),
          words(f.ids == Ids::distinct ? r * 2 + 5 : 41),
          form(f),
          token_id(ids_of(f.ids, r, static_cast<std::int32_t>(words - 3), 1)),  // the last words are never used
          position_id(ids_of(f.ids == Ids::distinct ? Ids::mixed : f.ids, r, positions - 1, 2)),
          type_id(ids_of(f.ids == Ids::distinct ? Ids::mixed : f.ids, r, types, 3)),
          token_order(order_of(token_id, tokens)),
          position_order(order_of(position_id, tokens)),
          type_order(order_of(type_id, tokens)),
          word(random_array(t, words, h, 4)),
          position(random_array(t, positions, h, 5)),
          type(random_array(t, types, h, 6)),
          gamma(random_array(t, 1, h, 7, 0.5, 1.5)),
          beta(random_array(t, 1, h, 8)),
          dy(random_array(t, r, h, 9)),
          sum(random_array(t, r, h, 10, -2, 2)),
          mean(random_array(DType::f32, 1, r, 11, -0.1, 0.1)),
          rstd(random_array(DType::f32, 1, r, 12, 0.8, 1.2)),
          dword(random_array(DType::f32, words, h, 13)),
          dposition(random_array(DType::f32, positions, h, 14)),
          dtoken_type(random_array(DType::f32, types, h, 15)),
          dparameter(random_array(DType::f32, 1, h, 16)),
          row_sample(DType::u64, r) {
        state.dropout_key = step_dropout_key(3, 4);
        counts.tokens = static_cast<std::int32_t>(tokens);
        for (std::int64_t row = 0; row < r; ++row) row_sample.set(row, static_cast<double>(row) + 0x1p33);
        for (std::int64_t row = tokens; row < r; ++row) {
            for (std::int64_t col = 0; col < h; ++col) dy.set(row, col, NAN);
        }
    }
};

struct Result {
    Array y, sum, mean, rstd, dsum, dword, dposition, dtoken_type, dgamma, dbeta;
    std::vector<const Array*> tables() const { return {&dword, &dposition, &dtoken_type}; }
    bool same_bits(const Result& other) const {
        return y.same_bits(other.y) && sum.same_bits(other.sum) && mean.same_bits(other.mean) &&
               rstd.same_bits(other.rstd) && dsum.same_bits(other.dsum) && same_gradients(other);
    }
    bool same_gradients(const Result& other) const {
        return dword.same_bits(other.dword) && dposition.same_bits(other.dposition) &&
               dtoken_type.same_bits(other.dtoken_type) && dgamma.same_bits(other.dgamma) &&
               dbeta.same_bits(other.dbeta);
    }
};

struct HostMemory {
    using Buffer = Array;
    template <typename T>
    static const T* place(const T& value) {
        return &value;
    }
    static Array fetch(const Array& array) { return array; }
};

struct DeviceMemory {
    using Buffer = DeviceArray;
    template <typename T>
    static const T* place(const T& value) {
        return on_device(value);
    }
    static Array fetch(const DeviceArray& array) { return array.fetch(); }
};

/// The parts of a case that both directions read, in `dtype`.
template <typename Memory>
struct Inputs {
    typename Memory::Buffer token_id, position_id, type_id, gamma, row_sample;
    HiddenDropout dropout = {};

    Inputs(const Case& c, DType dtype)
        : token_id(c.token_id),
          position_id(c.position_id),
          type_id(c.type_id),
          gamma(c.gamma.as(dtype)),
          row_sample(c.row_sample) {
        if (c.form.probability == 0) return;
        dropout = {c.form.probability,  0, DropoutSite::embedding, Memory::place(c.state), row_sample.tensor(),
                   position_id.tensor()};
    }
};

template <typename Memory>
void run_forward(const Case& c, DType dtype, Result& out) {
    using Buffer = typename Memory::Buffer;
    const DType statistics = statistics_dtype(dtype);
    const Inputs<Memory> in(c, dtype);
    const Buffer word(c.word.as(dtype)), position(c.position.as(dtype)), type(c.type.as(dtype)), beta(c.beta.as(dtype)),
        y(Array(dtype, c.rows, c.hidden)), sum(Array(dtype, c.rows, c.hidden)), mean(Array(statistics, c.rows)),
        rstd(Array(statistics, c.rows));
    embedding_forward({.y = y.tensor(),
                       .sum = sum.tensor(),
                       .mean = mean.tensor(),
                       .rstd = rstd.tensor(),
                       .token_id = in.token_id.tensor(),
                       .position_id = in.position_id.tensor(),
                       .type_id = in.type_id.tensor(),
                       .word = word.tensor(),
                       .position = position.tensor(),
                       .type = type.tensor(),
                       .gamma = in.gamma.tensor(),
                       .beta = beta.tensor(),
                       .epsilon = 1e-12,
                       .dropout = in.dropout},
                      {});
    out.y = Memory::fetch(y);
    out.sum = Memory::fetch(sum);
    out.mean = Memory::fetch(mean);
    out.rstd = Memory::fetch(rstd);
}

template <typename Memory>
void run_backward(const Case& c, DType dtype, Result& out) {
    using Buffer = typename Memory::Buffer;
    const DType statistics = statistics_dtype(dtype);
    const Inputs<Memory> in(c, dtype);
    const Buffer token_order(c.token_order), position_order(c.position_order), type_order(c.type_order),
        dy(c.dy.as(dtype)), sum(c.sum.as(dtype)), mean(c.mean.as(statistics)), rstd(c.rstd.as(statistics)),
        dsum(Array(dtype, c.rows, c.hidden)), dword(c.dword.as(statistics)), dposition(c.dposition.as(statistics)),
        dtoken_type(c.dtoken_type.as(statistics)), dgamma(c.dparameter.as(statistics)),
        dbeta(c.dparameter.as(statistics)), scratch(Array(statistics, embedding_backward_scratch(c.rows, c.hidden)));
    const Buffer& dsum_out = c.form.in_place ? dy : dsum;
    embedding_backward({.dword = dword.tensor(),
                        .dposition = dposition.tensor(),
                        .dtoken_type = dtoken_type.tensor(),
                        .dgamma = dgamma.tensor(),
                        .dbeta = dbeta.tensor(),
                        .dsum = dsum_out.tensor(),
                        .scratch = scratch.tensor(),
                        .dy = dy.tensor(),
                        .sum = sum.tensor(),
                        .mean = mean.tensor(),
                        .rstd = rstd.tensor(),
                        .gamma = in.gamma.tensor(),
                        .token_id = in.token_id.tensor(),
                        .token_order = token_order.tensor(),
                        .position_id = in.position_id.tensor(),
                        .position_order = position_order.tensor(),
                        .type_id = in.type_id.tensor(),
                        .type_order = type_order.tensor(),
                        .counts = Memory::place(c.counts),
                        .accumulate = c.form.accumulate,
                        .accumulate_word = c.form.accumulate_word,
                        .dropout = in.dropout},
                       {});
    Memory::fetch(scratch);
    out.dsum = Memory::fetch(dsum_out);
    out.dword = Memory::fetch(dword);
    out.dposition = Memory::fetch(dposition);
    out.dtoken_type = Memory::fetch(dtoken_type);
    out.dgamma = Memory::fetch(dgamma);
    out.dbeta = Memory::fetch(dbeta);
}

template <typename Memory>
Result run(const Case& c, DType dtype) {
    Result out;
    run_forward<Memory>(c, dtype, out);
    run_backward<Memory>(c, dtype, out);
    return out;
}

/// The rows of dsum that count: those of padding are not written.
Array used_rows(const Case& c, const Array& dsum) {
    Array used(dsum.dtype(), c.tokens, c.hidden);
    for (std::int64_t i = 0; i < used.count(); ++i) used.set(i, dsum[i]);
    return used;
}

void check_near(const Case& c) {
    INFO(name_of(c.dtype) << " " << c.rows << " x " << c.hidden << ", " << c.tokens << " tokens, ids "
                          << static_cast<int>(c.form.ids) << ", dropout " << c.form.probability << ", accumulate "
                          << c.form.accumulate << c.form.accumulate_word);
    const Result got = run<DeviceMemory>(c, c.dtype), plain = run<HostMemory>(c, c.dtype),
                 exact = run<HostMemory>(c, DType::f64);
    check_as_near("y", got.y, plain.y, exact.y);
    check_as_near("sum", got.sum, plain.sum, exact.sum);
    check_as_near("mean", got.mean, plain.mean, exact.mean);
    check_as_near("rstd", got.rstd, plain.rstd, exact.rstd);
    check_as_near("dsum", used_rows(c, got.dsum), used_rows(c, plain.dsum), used_rows(c, exact.dsum));
    check_as_near("dword", got.dword, plain.dword, exact.dword);
    check_as_near("dposition", got.dposition, plain.dposition, exact.dposition);
    check_as_near("dtoken_type", got.dtoken_type, plain.dtoken_type, exact.dtoken_type);
    check_as_near("dgamma", got.dgamma, plain.dgamma, exact.dgamma);
    check_as_near("dbeta", got.dbeta, plain.dbeta, exact.dbeta);
}

/// dsum is exactly dy: no dropout, gamma and rstd 1, each row of dy adds up to 0, and sum is the mean.
Case with_plain_dsum(DType dtype, std::int64_t rows, std::int64_t hidden, Form form) {
    form.probability = 0;
    Case c(dtype, rows, hidden, form);
    c.gamma.fill(1);
    c.rstd.fill(1);
    c.mean.fill(0);
    c.sum.fill(0);
    for (std::int64_t i = 0; i < c.tokens * hidden; i += 2) c.dy.set(i + 1, -c.dy[i]);
    return c;
}

}  // namespace

TEST_CASE("embedding on a device is as near to its definition as the plain loop, at every shape") {
    if (!device_or_skip()) return;
    for (const DType dtype : {DType::bf16, DType::f32}) {
        for (const auto& [rows, hidden] :
             {std::pair{1, 8}, {131, 8}, {67, 248}, {64, 256}, {65, 264}, {61, 768}, {131, 1024}, {66, 1032}}) {
            check_near(Case(dtype, rows, hidden, {.padding = rows / 20}));
        }
    }
}

TEST_CASE("embedding on a device adds to a table or overwrites all of it, each as asked, with and without dropout") {
    if (!device_or_skip()) return;
    for (const bool accumulate : {false, true}) {
        for (const bool accumulate_word : {false, true}) {
            for (const double probability : {0.0, 0.3}) {
                check_near(Case(DType::bf16, 71, 264,
                                {.padding = 4,
                                 .ids = Ids::skewed,
                                 .probability = probability,
                                 .accumulate = accumulate,
                                 .accumulate_word = accumulate_word}));
            }
        }
    }
}

TEST_CASE("embedding on a device adds the tables' gradients bit for bit as the plain loop, whatever the ids") {
    if (!device_or_skip()) return;
    const auto check = [](DType dtype, std::int64_t rows, std::int64_t hidden, Form form) {
        const Case c = with_plain_dsum(dtype, rows, hidden, form);
        INFO(name_of(dtype) << " " << rows << " x " << hidden << ", ids " << static_cast<int>(form.ids));
        Result device, host;
        run_backward<DeviceMemory>(c, dtype, device);
        run_backward<HostMemory>(c, dtype, host);
        CHECK(used_rows(c, device.dsum).same_bits(used_rows(c, host.dsum)));
        for (std::size_t i = 0; i < 3; ++i) CHECK(device.tables()[i]->same_bits(*host.tables()[i]));
    };
    for (const Ids ids : {Ids::mixed, Ids::skewed, Ids::same, Ids::distinct}) {
        for (const std::int64_t rows : {1, 63, 64, 65, 129})
            check(DType::bf16, rows, 8, {.padding = rows / 30, .ids = ids});
        check(DType::f32, 701, 8, {.ids = ids});  // runs of up to 11 pieces, in eight shares
    }
    // 35 pieces, more than a warp has lanes: runs that end anywhere in them.
    for (const Ids ids : {Ids::mixed, Ids::skewed, Ids::same}) check(DType::f32, 2177, 8, {.ids = ids});
    check(DType::f32, 197, 264, {.ids = Ids::skewed, .accumulate = true});
    check(DType::bf16, 197, 1032, {.ids = Ids::skewed, .accumulate_word = false});
}

TEST_CASE("embedding on a device has the same bits under every schedule") {
    if (!device_or_skip()) return;
    for (const auto& [rows, hidden] : {std::pair{133, 264}, {69, 768}, {66, 1032}}) {
        const bool accumulate = hidden == 768;
        const Case c(DType::bf16, rows, hidden,
                     {.padding = 3, .ids = Ids::skewed, .accumulate = accumulate, .accumulate_word = accumulate});
        const Result first = run<DeviceMemory>(c, c.dtype);
        for_schedules(schedules(), [&] { CHECK(run<DeviceMemory>(c, c.dtype).same_bits(first)); });
    }
}

TEST_CASE("embedding's statistics on a device are those of the sum as it is kept") {
    if (!device_or_skip()) return;
    for (const std::int64_t hidden : {264, 1032}) {
        const Case c(DType::bf16, 5, hidden);
        Result got;
        run_forward<DeviceMemory>(c, c.dtype, got);
        for (std::int64_t row = 0; row < c.rows; ++row) {
            double mean = 0, variance = 0;
            for (std::int64_t col = 0; col < hidden; ++col) mean += got.sum.get(row, col) / static_cast<double>(hidden);
            for (std::int64_t col = 0; col < hidden; ++col) {
                variance += std::pow(got.sum.get(row, col) - mean, 2) / static_cast<double>(hidden);
            }
            CHECK(std::abs(got.mean[row] - mean) < 1e-6);
            CHECK(std::abs(got.rstd[row] * std::sqrt(variance) - 1) < 1e-6);
        }
    }
}

TEST_CASE("embedding on a device works in place where the contract allows it") {
    if (!device_or_skip()) return;
    for (const std::int64_t hidden : {136, 768, 1032}) {
        const Result apart = run<DeviceMemory>(Case(DType::bf16, 67, hidden), DType::bf16);
        const Result in_place = run<DeviceMemory>(Case(DType::bf16, 67, hidden, {.in_place = true}), DType::bf16);
        CHECK(in_place.same_bits(apart));
    }
}

TEST_CASE("rows of padding change no gradient on a device, whatever they hold") {
    if (!device_or_skip()) return;
    // Padding from inside a piece, and whole pieces of it; its dy is NaN.
    for (const std::int64_t padding : {7, 69, 133, 140}) {
        Case c(DType::f32, 140, 16, {.padding = padding, .accumulate = true});
        const Result plain = run<DeviceMemory>(c, c.dtype);
        for (const Array* gradient : plain.tables()) CHECK(distance(*gradient, *gradient) == 0);  // no NaN
        for (std::int64_t row = c.tokens; row < c.rows; ++row) c.token_id.set(row, 0);
        CHECK(run<DeviceMemory>(c, c.dtype).same_gradients(plain));
    }
}

TEST_CASE("embedding on a device accepts no rows, and clears what it overwrites") {
    if (!device_or_skip()) return;
    for (const std::int64_t rows : {0, 5}) {  // none at all, or all of them padding
        for (const std::int64_t hidden : {16, 1032}) {
            const Case c(DType::f32, rows, hidden, {.padding = rows, .accumulate_word = false});
            const Result got = run<DeviceMemory>(c, c.dtype);
            for (const Array* gradient : {&got.dword, &got.dposition, &got.dtoken_type, &got.dgamma, &got.dbeta}) {
                CHECK(distance(*gradient, Array(*gradient).fill(0)) == 0);
            }
        }
    }
    const Case kept(DType::f32, 0, 16, {.accumulate = true});
    CHECK(run<DeviceMemory>(kept, kept.dtype).dword.same_bits(kept.dword));
}

TEST_CASE("embedding on a device drops what the host drops") {
    if (!device_or_skip()) return;
    const Case c(DType::f32, 9, 264, {.probability = 0.5});
    const Array got = run<DeviceMemory>(c, c.dtype).y, expected = run<HostMemory>(c, c.dtype).y;
    for (std::int64_t i = 0; i < got.count(); ++i) CHECK((got[i] == 0) == (expected[i] == 0));
}

TEST_CASE("embedding on a device refuses what its kernels cannot move, and a mask that lies elsewhere") {
    if (!device_or_skip()) return;
    const auto message = [](DType dtype, std::int64_t hidden, bool mask_on_host) {
        const std::int64_t rows = 2;
        const DeviceArray y(dtype, rows, hidden), sum(dtype, rows, hidden), table(dtype, rows, hidden),
            parameter(dtype, hidden), mean(statistics_dtype(dtype), rows), rstd(statistics_dtype(dtype), rows),
            id(Array(DType::i32, rows).fill(1));
        const Array row_sample(DType::u64, rows), row_position(DType::i32, rows);
        const StepState state;
        EmbeddingForward a{.y = y.tensor(),
                           .sum = sum.tensor(),
                           .mean = mean.tensor(),
                           .rstd = rstd.tensor(),
                           .token_id = id.tensor(),
                           .position_id = id.tensor(),
                           .type_id = id.tensor(),
                           .word = table.tensor(),
                           .position = table.tensor(),
                           .type = table.tensor(),
                           .gamma = parameter.tensor(),
                           .beta = parameter.tensor(),
                           .epsilon = 1e-12};
        if (mask_on_host) {
            a.dropout = {0.1, 0, DropoutSite::embedding, &state, row_sample.tensor(), row_position.tensor()};
        }
        return error_of([&] { embedding_forward(a, {}); });
    };
    CHECK(message(DType::f32, 8, false) == "");
    CHECK(message(DType::f32, 12, false).find("usage: embedding_forward: y is f32 [2, 12]") == 0);
    CHECK(message(DType::f64, 8, false).find("devices compute in f32 and bf16") != std::string::npos);
    CHECK(message(DType::f32, 8, true).find("one place") != std::string::npos);

    const auto backward_message = [](DType dtype, std::int64_t hidden) {
        Result out;
        return error_of([&] { run_backward<DeviceMemory>(Case(dtype, 2, hidden), dtype, out); });
    };
    CHECK(backward_message(DType::bf16, 8) == "");
    CHECK(backward_message(DType::bf16, 12).find("usage: embedding_backward: dy is bf16 [2, 12]") == 0);
    CHECK(backward_message(DType::f64, 8).find("devices compute in f32 and bf16") != std::string::npos);
}
