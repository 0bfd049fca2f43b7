// Contract, cutting into tiles, and the two ways a tile is computed: plain loops (gemm_plain.h) or oneDNN.
#include "engine/device/gemm.h"

#include <algorithm>
#include <string>
#include <vector>

#include "engine/device/device_gemm.h"
#include "engine/device/gemm_plain.h"
#include "kernels/core/contract.h"
#include "kernels/core/integer.h"
#include "kernels/core/parallel.h"

#ifdef CLOZE_ONEDNN
#include "engine/device/gemm_onednn.h"
#endif

namespace cloze {
namespace {

struct Shape {
    std::int64_t m, n, k;
};

/// How d is cut: row x column tiles of nearly equal size, and slices of k. A function of the shape alone.
struct TilePlan {
    std::int64_t tile_rows, tile_cols, slice_depth;
    std::int64_t row_tiles, col_tiles, slices;

    std::int64_t tiles() const { return row_tiles * col_tiles; }
};

// 128 x 128 runs as fast as the library's own blocking on nearly all shapes of BERT-tiny to base. 256 x 256 reads the
// operands half as often where there is enough of d; 64 x 64 loses 3 to 7 % but gives small products enough tiles for a
// machine's cores.
struct TileChoice {
    std::int64_t edge, least_tiles;
};
constexpr std::int64_t kWantedTiles = 16;
constexpr TileChoice kTileChoices[] = {{256, 32}, {128, kWantedTiles}, {64, 0}};
constexpr std::int64_t kLeastSliceDepth = 512;
constexpr std::int64_t kTileAlign = 16;  // columns of the library's micro-kernel

/// Extent of equal parts of `size`, none above `limit`, a multiple of kTileAlign where there are several.
std::int64_t even_part(std::int64_t size, std::int64_t limit) {
    const std::int64_t parts = divide_up(size, limit);
    return parts == 1 ? size : round_up(divide_up(size, parts), kTileAlign);
}

TilePlan tile_plan(const Shape& shape) {
    TilePlan plan{};
    for (const TileChoice& choice : kTileChoices) {
        plan.tile_rows = even_part(shape.m, choice.edge);
        plan.tile_cols = even_part(shape.n, choice.edge);
        plan.row_tiles = divide_up(shape.m, plan.tile_rows);
        plan.col_tiles = divide_up(shape.n, plan.tile_cols);
        if (plan.tiles() >= choice.least_tiles) break;
    }
    const std::int64_t useful = std::min(divide_up(kWantedTiles, plan.tiles()), shape.k / kLeastSliceDepth);
    plan.slice_depth = divide_up(shape.k, std::max<std::int64_t>(useful, 1));
    plan.slices = shape.k == 0 ? 1 : divide_up(shape.k, plan.slice_depth);
    return plan;
}

/// One unit of work: rows [row, row + rows) and columns [col, col + cols) of d over [k_first, k_last).
struct Tile {
    std::int64_t row, rows, col, cols, k_first, k_last;
};

Tile tile_of(const TilePlan& plan, const Shape& shape, std::int64_t index, std::int64_t slice) {
    // Neighbours in the order of work share the larger operand's panel.
    const bool down = shape.n > shape.m;
    const std::int64_t row = (down ? index % plan.row_tiles : index / plan.col_tiles) * plan.tile_rows;
    const std::int64_t col = (down ? index / plan.row_tiles : index % plan.col_tiles) * plan.tile_cols;
    const std::int64_t first = slice * plan.slice_depth;
    return {row,   std::min(plan.tile_rows, shape.m - row),    col, std::min(plan.tile_cols, shape.n - col),
            first, std::min(first + plan.slice_depth, shape.k)};
}

/// Where a tile's product goes: d itself, or a slice's partial sums.
template <typename T>
struct Target {
    T* data;  // element (0, 0) of the tile
    std::int64_t stride;
    bool accumulate;
};

template <typename Storage>
plain_gemm::Operand<Storage> operand(const Tensor& x, bool transpose) {
    return transpose ? plain_gemm::Operand<Storage>{x.data<Storage>(), 1, x.stride}
                     : plain_gemm::Operand<Storage>{x.data<Storage>(), x.stride, 1};
}

template <typename Storage, typename Out>
void multiply_plain(const Gemm& g, const Tile& tile, const Target<Out>& target, const Storage* bias) {
    using T = Arithmetic<Storage>;
    auto a = operand<Storage>(g.a, g.transpose_a);
    auto b = operand<Storage>(g.b, !g.transpose_b);
    a.data += tile.row * a.row_step;
    b.data += tile.col * b.row_step;
    const auto [sum, stride] = plain_gemm::multiply<Storage>(a, b, tile.rows, tile.cols, tile.k_first, tile.k_last);
    for (std::int64_t r = 0; r < tile.rows; ++r) {
        Out* row = target.data + r * target.stride;
        for (std::int64_t c = 0; c < tile.cols; ++c) {
            T value = sum[r * stride + c];
            if (target.accumulate) value += static_cast<T>(row[c]);
            if (bias != nullptr) value += static_cast<T>(bias[tile.col + c]);
            row[c] = static_cast<Out>(value);
        }
    }
}

#ifdef CLOZE_ONEDNN

void multiply_onednn(const Gemm& g, const Tile& tile, const Target<float>& target, const float* bias) {
    // A tensor of one row may have any stride; the library wants at least the number of columns.
    const auto stride = [](const Tensor& x) { return std::max<std::int64_t>({x.stride, x.cols, 1}); };
    const auto corner = [&](const Tensor& x, std::int64_t outer, bool depth_first) {
        const std::int64_t row = depth_first ? tile.k_first : outer, col = depth_first ? outer : tile.k_first;
        return onednn::Operand{x.data<float>() + row * stride(x) + col, stride(x), depth_first};
    };
    onednn::multiply({.d = target.data,
                      .d_stride = std::max(target.stride, tile.cols),
                      .a = corner(g.a, tile.row, g.transpose_a),
                      .b = corner(g.b, tile.col, !g.transpose_b),
                      .m = tile.rows,
                      .n = tile.cols,
                      .k = tile.k_last - tile.k_first,
                      .accumulate = target.accumulate});
    if (bias == nullptr) return;
    for (std::int64_t r = 0; r < tile.rows; ++r) {
        float* row = target.data + r * target.stride;
        for (std::int64_t c = 0; c < tile.cols; ++c) row[c] += bias[tile.col + c];
    }
}

#endif

template <typename Storage, typename Out>
void multiply(const Gemm& g, const Tile& tile, const Target<Out>& target, const Storage* bias) {
#ifdef CLOZE_ONEDNN
    if constexpr (std::is_same_v<Storage, float>) {
        if (tile.k_last > tile.k_first) return multiply_onednn(g, tile, target, bias);
    }
#endif
    multiply_plain<Storage, Out>(g, tile, target, bias);
}

/// Partial products of the slices in scratch, then summed slice by slice. Slices are few and tiles small
/// (kWantedTiles), so scratch stays below half a MiB.
template <typename Storage, typename Out>
void run_sliced(const Gemm& g, const Shape& shape, const TilePlan& plan) {
    using T = Arithmetic<Storage>;
    thread_local std::vector<T> kept;
    std::vector<T>& partial = kept;
    const std::int64_t elements = shape.m * shape.n;
    partial.resize(std::max(partial.size(), static_cast<std::size_t>(plan.slices * elements)));
    parallel_for(plan.tiles() * plan.slices, [&](std::int64_t item) {
        const std::int64_t slice = item / plan.tiles();
        const Tile tile = tile_of(plan, shape, item % plan.tiles(), slice);
        T* data = partial.data() + slice * elements + tile.row * shape.n + tile.col;
        multiply<Storage, T>(g, tile, {data, shape.n, false}, nullptr);
    });
    const Storage* bias = g.bias ? g.bias.data<Storage>() : nullptr;
    parallel_chunks(shape.m, kTileAlign, [&](std::int64_t first, std::int64_t last, std::int64_t) {
        for (std::int64_t r = first; r < last; ++r) {
            T* sum = partial.data() + r * shape.n;
            for (std::int64_t slice = 1; slice < plan.slices; ++slice) {
                const T* more = sum + slice * elements;
                for (std::int64_t c = 0; c < shape.n; ++c) sum[c] += more[c];
            }
            Out* row = g.d.data<Out>() + r * g.d.stride;
            for (std::int64_t c = 0; c < shape.n; ++c) {
                T value = sum[c];
                if (g.accumulate) value += static_cast<T>(row[c]);
                if (bias != nullptr) value += static_cast<T>(bias[c]);
                row[c] = static_cast<Out>(value);
            }
        }
    });
}

template <typename Storage, typename Out>
void run(const Gemm& g, const Shape& shape) {
    const TilePlan plan = tile_plan(shape);
    if (plan.slices > 1) return run_sliced<Storage, Out>(g, shape, plan);
    const Storage* bias = g.bias ? g.bias.data<Storage>() : nullptr;
    parallel_for(plan.tiles(), [&](std::int64_t index) {
        const Tile tile = tile_of(plan, shape, index, 0);
        Out* data = g.d.data<Out>() + tile.row * g.d.stride + tile.col;
        multiply<Storage, Out>(g, tile, {data, g.d.stride, g.accumulate}, bias);
    });
}

Shape require_gemm(const Gemm& g, Place place) {
    const Shape shape{g.d.rows, g.d.cols, g.transpose_a ? g.a.rows : g.a.cols};
    const auto operand_of = [&](const char* name, const Tensor& x, std::int64_t rows, std::int64_t cols, DType dtype) {
        require_tensor(
            {.op = "gemm", .name = name, .tensor = x, .rows = rows, .cols = cols, .dtype = dtype, .contiguous = false});
        require(x.rows <= 1 || x.stride >= x.cols, "gemm: ", name, " has rows that overlap: row stride ", x.stride,
                " for ", x.cols, " columns");
    };
    const DType type = g.a.dtype;
    require_floating("gemm", {"a", g.a});
    operand_of("a", g.a, g.transpose_a ? shape.k : shape.m, g.transpose_a ? shape.m : shape.k, type);
    operand_of("b", g.b, g.transpose_b ? shape.n : shape.k, g.transpose_b ? shape.k : shape.n, type);
    const bool wide = type == DType::bf16 && g.d.dtype == DType::f32;
    operand_of("d", g.d, shape.m, shape.n, wide ? DType::f32 : type);
    if (g.bias) {
        require(!g.accumulate, "gemm: bias and accumulate exclude each other: the bias would be added twice");
        operand_of("bias", g.bias, 1, shape.n, type);
    }
    require_apart("gemm", {"d", g.d}, {{"a", g.a}, {"b", g.b}, {"bias", g.bias}});
    const Place lies = common_place("gemm", {{"d", g.d}, {"a", g.a}, {"b", g.b}, {"bias", g.bias}});
    require(lies == place, "gemm: d is ", describe(g.d), ", but was to be computed on the ",
            place == Place::host ? "host" : "device");
    require(place == Place::host || type != DType::f64, "gemm: a is ", describe(g.a),
            "; devices compute in f32 and bf16");
    return shape;
}

}  // namespace

void gemm(const Gemm& arguments, const Compute& compute) {
    const Shape shape = require_gemm(arguments, compute.place);
    if (shape.m == 0 || shape.n == 0) return;
    if (shape.k == 0 && arguments.accumulate) return;
    if (compute.place == Place::device) return compute.products->multiply(arguments, compute.stream);
#ifdef CLOZE_ONEDNN
    const onednn::SignalsWait signals_wait;
#endif
    visit_float(arguments.a.dtype, [&]<typename Storage>() {
        if (arguments.d.dtype == DType::f32)
            run<Storage, float>(arguments, shape);
        else
            run<Storage, Storage>(arguments, shape);
    });
}

const char* host_gemm_library() {
#ifdef CLOZE_ONEDNN
    static const std::string name = onednn::version();
    return name.c_str();
#else
    return "plain loops";
#endif
}

Cost gemm_cost(std::int64_t m, std::int64_t n, std::int64_t k, DType dtype) {
    return {.bytes = (m * k + k * n + m * n) * size_of(dtype), .flops = 2 * m * n * k};
}

std::string product_name(std::int64_t m, std::int64_t n, std::int64_t k, DType out) {
    return text("gemm ", m, " x ", n, " x ", k, out == DType::f32 ? " f32" : "");
}

}  // namespace cloze
