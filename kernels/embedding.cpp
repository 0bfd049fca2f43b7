#include "kernels/embedding.h"

#include "kernels/core/contract.h"
#include "kernels/core/device_body.h"
#include "kernels/normalized_rows.h"

namespace cloze {

namespace {

Place check(const EmbeddingForward& a) {
    constexpr const char* op = "embedding_forward";
    const std::int64_t tokens = a.y.rows, hidden = a.y.cols;
    const DType dtype = a.y.dtype, statistics = statistics_dtype(dtype);
    require_floating(op, {"y", a.y});
    require_tensor({op, "y", a.y, tokens, hidden, dtype});
    require_tensor({op, "sum", a.sum, tokens, hidden, dtype});
    require_tensor({op, "mean", a.mean, 1, tokens, statistics});
    require_tensor({op, "rstd", a.rstd, 1, tokens, statistics});
    require_tensor({op, "token_id", a.token_id, 1, tokens, DType::i32});
    require_tensor({op, "position_id", a.position_id, 1, tokens, DType::i32});
    require_tensor({op, "type_id", a.type_id, 1, tokens, DType::i32});
    require_tensor({op, "word", a.word, a.word.rows, hidden, dtype});
    require_tensor({op, "position", a.position, a.position.rows, hidden, dtype});
    require_tensor({op, "type", a.type, a.type.rows, hidden, dtype});
    require_tensor({op, "gamma", a.gamma, 1, hidden, dtype});
    require_tensor({op, "beta", a.beta, 1, hidden, dtype});
    require(a.epsilon >= 0, op, ": epsilon is ", a.epsilon, "; it is added to a variance and must not be negative");
    require_hidden_dropout(a.dropout, tokens, hidden, op);

    const Named y{"y", a.y}, sum{"sum", a.sum}, mean{"mean", a.mean}, rstd{"rstd", a.rstd};
    const Named token_id{"token_id", a.token_id}, position_id{"position_id", a.position_id},
        type_id{"type_id", a.type_id}, word{"word", a.word}, position{"position", a.position}, type{"type", a.type},
        gamma{"gamma", a.gamma}, beta{"beta", a.beta};
    require_apart(op, y, {sum, mean, rstd});
    require_apart(op, sum, {mean, rstd});
    require_apart(op, mean, {rstd});
    for (const Named& output : {y, sum, mean, rstd}) {
        require_apart(op, output, {token_id, position_id, type_id, word, position, type, gamma, beta});
    }
    require_hidden_dropout_place(a.dropout, y, op);
    const Place place =
        common_place(op, {y, sum, mean, rstd, token_id, position_id, type_id, word, position, type, gamma, beta});
    if (place == Place::device) require_vectors(op, {y, sum, word, position, type, gamma, beta});
    return place;
}

Place check(const EmbeddingBackward& a) {
    constexpr const char* op = "embedding_backward";
    const std::int64_t tokens = a.dy.rows, hidden = a.dy.cols;
    const DType dtype = a.dy.dtype, statistics = statistics_dtype(dtype);
    require_floating(op, {"dy", a.dy});
    require_tensor({op, "dy", a.dy, tokens, hidden, dtype});
    require_tensor({op, "sum", a.sum, tokens, hidden, dtype});
    require_tensor({op, "mean", a.mean, 1, tokens, statistics});
    require_tensor({op, "rstd", a.rstd, 1, tokens, statistics});
    require_tensor({op, "gamma", a.gamma, 1, hidden, dtype});
    require_tensor({op, "dsum", a.dsum, tokens, hidden, dtype});
    require_tensor({op, "dword", a.dword, a.dword.rows, hidden, statistics});
    require_tensor({op, "dposition", a.dposition, a.dposition.rows, hidden, statistics});
    require_tensor({op, "dtoken_type", a.dtoken_type, a.dtoken_type.rows, hidden, statistics});
    require_tensor({op, "dgamma", a.dgamma, 1, hidden, statistics});
    require_tensor({op, "dbeta", a.dbeta, 1, hidden, statistics});
    require_tensor({op, "scratch", a.scratch, 1, embedding_backward_scratch(tokens, hidden), statistics});
    const Named ids[] = {{"token_id", a.token_id},       {"token_order", a.token_order},
                         {"position_id", a.position_id}, {"position_order", a.position_order},
                         {"type_id", a.type_id},         {"type_order", a.type_order}};
    for (const Named& id : ids) require_tensor({op, id.name, id.tensor, 1, tokens, DType::i32});
    require(a.counts != nullptr, op, ": `counts` is missing; give the address of the batch's counts");
    require_hidden_dropout(a.dropout, tokens, hidden, op);

    const Named dy{"dy", a.dy}, sum{"sum", a.sum}, mean{"mean", a.mean}, rstd{"rstd", a.rstd}, gamma{"gamma", a.gamma},
        dsum{"dsum", a.dsum}, scratch{"scratch", a.scratch};
    const Named outputs[] = {{"dword", a.dword},   {"dposition", a.dposition}, {"dtoken_type", a.dtoken_type},
                             {"dgamma", a.dgamma}, {"dbeta", a.dbeta},         scratch};
    require_same_or_apart(op, dsum, dy);
    require_apart(op, dsum, {sum, mean, rstd, gamma});
    for (const Named& output : outputs) {
        require_apart(op, output, {dy, sum, mean, rstd, gamma, dsum});
        for (const Named& id : ids) require_apart(op, output, {id});
        for (const Named& other : outputs) {
            if (&other != &output) require_apart(op, output, {other});
        }
        common_place(op, {dy, output});
    }
    for (const Named& id : ids) common_place(op, {dy, id});
    require_hidden_dropout_place(a.dropout, dy, op);
    if (common_place(op, {dy, sum, mean, rstd, gamma, dsum}) == Place::device) {
        require_vectors(op, {dy, sum, gamma, dsum, scratch});
        for (const Named& output : outputs) require_vectors(op, {output});
        return Place::device;
    }
    require(a.counts->tokens >= 0 && a.counts->tokens <= tokens, op, ": counts->tokens is ", a.counts->tokens,
            ", but there are ", tokens, " rows");
    return Place::host;
}

template <typename T>
void forward(const EmbeddingForward& a) {
    using A = Arithmetic<T>;
    const std::int64_t hidden = a.y.cols;
    const T* gamma = data_or_null<T>(a.gamma);
    const T* beta = data_or_null<T>(a.beta);
    const HiddenMask<A> mask(a.dropout);
    parallel_chunks(a.y.rows, kRowsPerChunk, [&](std::int64_t first_row, std::int64_t last_row, std::int64_t) {
        A block[kColumnsPerBlock];
        for (std::int64_t row = first_row; row < last_row; ++row) {
            const T* word = a.word.data<T>() + a.token_id.data<std::int32_t>()[row] * hidden;
            const T* position = a.position.data<T>() + a.position_id.data<std::int32_t>()[row] * hidden;
            const T* type = a.type.data<T>() + a.type_id.data<std::int32_t>()[row] * hidden;
            T* sum = a.sum.data<T>() + row * hidden;
            T* y = a.y.data<T>() + row * hidden;
            for_blocks(hidden, [&](std::int64_t first, std::int64_t width) {
                load_block(block, word + first, width);
                add_block(block, position + first, width);
                add_block(block, type + first, width);
                store_block(sum + first, block, width);
            });
            const RowMoments<A> moments = row_moments(sum, hidden, static_cast<A>(a.epsilon));
            a.mean.data<A>()[row] = moments.mean;
            a.rstd.data<A>()[row] = moments.rstd;
            for_blocks(hidden, [&](std::int64_t first, std::int64_t width) {
                normalize_block(block, sum + first, moments, gamma + first, beta + first, width);
                mask.apply(block, row, first, width);
                store_block(y + first, block, width);
            });
        }
    });
}

// dsum, dgamma and dbeta. Scratch holds for each chunk of rows the sums of dgamma and dbeta, side by side.
template <typename T>
void backward_of_norm(const EmbeddingBackward& a, std::int64_t tokens) {
    using A = Arithmetic<T>;
    const std::int64_t hidden = a.dy.cols;
    const T* gamma = data_or_null<T>(a.gamma);
    A* scratch = data_or_null<A>(a.scratch);
    const HiddenMask<A> mask(a.dropout);
    parallel_chunks(tokens, kRowsPerChunk, [&](std::int64_t first_row, std::int64_t last_row, std::int64_t chunk) {
        A* dgamma = scratch + chunk * 2 * hidden;
        A* dbeta = dgamma + hidden;
        std::fill_n(dgamma, 2 * hidden, A(0));
        A block[kColumnsPerBlock];
        for (std::int64_t row = first_row; row < last_row; ++row) {
            const T* dy = a.dy.data<T>() + row * hidden;
            const T* sum = a.sum.data<T>() + row * hidden;
            T* dsum = a.dsum.data<T>() + row * hidden;
            // The mask is drawn twice: keeping the masked gradient would round it to the working type.
            const auto load_dy = [&](A* to, std::int64_t first, std::int64_t width) {
                load_block(to, dy + first, width);
                mask.apply(to, row, first, width);
            };
            const RowMoments<A> moments{a.mean.data<A>()[row], a.rstd.data<A>()[row]};
            const RowAverages<A> averages = row_averages(load_dy, sum, moments, gamma, hidden);
            for_blocks(hidden, [&](std::int64_t first, std::int64_t width) {
                load_dy(block, first, width);
                normalize_backward_block(block, dgamma + first, dbeta + first, sum + first, moments, averages,
                                         gamma + first, width);
                store_block(dsum + first, block, width);
            });
        }
    });
    const std::int64_t chunks = divide_up(tokens, kRowsPerChunk);
    sum_of_chunks(data_or_null<A>(a.dgamma), scratch, chunks, 2 * hidden, hidden, a.accumulate);
    sum_of_chunks(data_or_null<A>(a.dbeta), scratch + hidden, chunks, 2 * hidden, hidden, a.accumulate);
}

/// One table's gradient. `order[0, tokens)` are the rows that count, sorted by id.
template <typename T>
struct TableGradient {
    using A = Arithmetic<T>;

    A* table;
    const T* dsum;
    A* scratch;  // [pieces][2][hidden]: a piece's part of the id that began before it; of the id that goes on after it
    const std::int32_t* id;
    const std::int32_t* order;
    std::int64_t tokens;
    std::int64_t hidden;

    std::int32_t id_at(std::int64_t entry) const { return id[order[entry]]; }
    A* head(std::int64_t piece) const { return scratch + piece * 2 * hidden; }
    A* tail(std::int64_t piece) const { return head(piece) + hidden; }

    /// to = (or +=) the gradients of entries [first, last) of the order.
    void add_entries(A* to, std::int64_t first, std::int64_t last, bool overwrite) const {
        for_blocks(hidden, [&](std::int64_t col, std::int64_t width) {
            A total[kColumnsPerBlock] = {};
            for (std::int64_t entry = first; entry < last; ++entry) {
                add_block(total, dsum + order[entry] * hidden + col, width);
            }
            if (overwrite) {
                store_block(to + col, total, width);
            } else {
                add_block(to + col, total, width);
            }
        });
    }

    /// The runs of equal ids in entries [first, last). A run inside the piece goes to the table, another to scratch.
    void add_piece(std::int64_t first, std::int64_t last, std::int64_t piece) const {
        for (std::int64_t begin = first; begin < last;) {
            const std::int32_t run_id = id_at(begin);
            std::int64_t end = begin + 1;
            while (end < last && id_at(end) == run_id) ++end;
            const bool began_before = begin == first && first > 0 && id_at(first - 1) == run_id;
            const bool goes_on = end == last && last < tokens && id_at(last) == run_id;
            if (began_before) {
                add_entries(head(piece), begin, end, true);
            } else if (goes_on) {
                add_entries(tail(piece), begin, end, true);
            } else {
                add_entries(table + run_id * hidden, begin, end, false);
            }
            begin = end;
        }
    }

    /// The run that begins in this piece and goes on after it, if there is one.
    void add_long_run(std::int64_t first, std::int64_t last, std::int64_t piece) const {
        if (last == tokens) return;
        const std::int32_t run_id = id_at(last - 1);
        const bool began_before = first > 0 && id_at(first - 1) == run_id;
        if (began_before || id_at(last) != run_id) return;
        std::int64_t end_piece = piece + 1;
        while (end_piece * kRowsPerChunk < tokens && id_at(end_piece * kRowsPerChunk) == run_id) ++end_piece;
        const std::int64_t per_share = divide_up(end_piece - piece, kLongRunShares);
        for_blocks(hidden, [&](std::int64_t col, std::int64_t width) {
            A total[kColumnsPerBlock] = {};
            for (std::int64_t share = piece; share < end_piece; share += per_share) {
                A parts[kColumnsPerBlock] = {};
                for (std::int64_t part = share; part < std::min(share + per_share, end_piece); ++part) {
                    add_block(parts, (part == piece ? tail(part) : head(part)) + col, width);
                }
                add_block(total, parts, width);
            }
            add_block(table + run_id * hidden + col, total, width);
        });
    }

    void run() const {
        parallel_chunks(tokens, kRowsPerChunk, [&](std::int64_t first, std::int64_t last, std::int64_t piece) {
            add_piece(first, last, piece);
        });
        parallel_chunks(tokens, kRowsPerChunk, [&](std::int64_t first, std::int64_t last, std::int64_t piece) {
            add_long_run(first, last, piece);
        });
    }
};

template <typename T>
void backward_of_table(const EmbeddingBackward& a, std::int64_t tokens, const Tensor& table, const Tensor& id,
                       const Tensor& order, bool accumulate) {
    using A = Arithmetic<T>;
    if (!accumulate) {
        parallel_chunks(table.rows, kRowsPerChunk, [&](std::int64_t first, std::int64_t last, std::int64_t) {
            std::fill_n(table.data<A>() + first * table.cols, (last - first) * table.cols, A(0));
        });
    }
    const TableGradient<T> gradient{data_or_null<A>(table),
                                    data_or_null<T>(a.dsum),
                                    data_or_null<A>(a.scratch),
                                    data_or_null<std::int32_t>(id),
                                    data_or_null<std::int32_t>(order),
                                    tokens,
                                    table.cols};
    gradient.run();
}

}  // namespace

void embedding_forward(const EmbeddingForward& arguments, [[maybe_unused]] Stream stream) {
    if (check(arguments) == Place::device) {
        if constexpr (kHasDevice) return device_code::embedding_forward(arguments, stream);
        fail_without_device("embedding_forward");
    }
    visit_float(arguments.y.dtype, [&]<typename T>() { forward<T>(arguments); });
}

void embedding_backward(const EmbeddingBackward& arguments, [[maybe_unused]] Stream stream) {
    if (check(arguments) == Place::device) {
        if constexpr (kHasDevice) return device_code::embedding_backward(arguments, stream);
        fail_without_device("embedding_backward");
    }
    const EmbeddingBackward& a = arguments;
    const std::int64_t tokens = a.counts->tokens;
    visit_float(a.dy.dtype, [&]<typename T>() {
        backward_of_norm<T>(a, tokens);
        backward_of_table<T>(a, tokens, a.dword, a.token_id, a.token_order, a.accumulate_word);
        backward_of_table<T>(a, tokens, a.dposition, a.position_id, a.position_order, a.accumulate);
        backward_of_table<T>(a, tokens, a.dtoken_type, a.type_id, a.type_order, a.accumulate);
    });
}

// For each chunk of rows the sums of dgamma and dbeta; afterwards for each piece of an order and each of three tables
// two edges, so that a device takes the tables side by side.
std::int64_t embedding_backward_scratch(std::int64_t tokens, std::int64_t hidden) {
    return std::max(short_chunk_partials(tokens, 2 * hidden), chunk_partials(tokens, 6 * hidden));
}

// y, sum and the table rows that tokens can name, each once.
Cost embedding_forward_cost(const EmbeddingSizes& sizes, DType dtype) {
    const std::int64_t tokens = sizes.tokens, hidden = sizes.hidden, statistics = size_of(statistics_dtype(dtype));
    const std::int64_t table_rows =
        std::min(tokens, sizes.word_rows) + std::min(tokens, sizes.positions) + std::min(tokens, sizes.types);
    return {((2 * tokens + table_rows + 2) * hidden) * size_of(dtype) + 2 * tokens * statistics +
                3 * tokens * size_of(DType::i32),
            11 * tokens * hidden};
}

// dy, sum and dsum once. A table that is overwritten is written whole; where it is added to, the rows that tokens can
// name are read and written.
Cost embedding_backward_cost(const EmbeddingSizes& sizes, DType dtype, bool accumulate, bool accumulate_word) {
    const std::int64_t tokens = sizes.tokens, hidden = sizes.hidden, statistics = size_of(statistics_dtype(dtype));
    const auto moved = [&](std::int64_t rows, bool adds) { return adds ? 2 * std::min(tokens, rows) : rows; };
    const std::int64_t table_rows =
        moved(sizes.word_rows, accumulate_word) + moved(sizes.positions, accumulate) + moved(sizes.types, accumulate);
    return {((3 * tokens + 1) * hidden) * size_of(dtype) +
                ((table_rows + (accumulate ? 4 : 2)) * hidden + 2 * tokens) * statistics +
                6 * tokens * size_of(DType::i32),
            19 * tokens * hidden};
}

}  // namespace cloze
