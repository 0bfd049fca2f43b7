// The copy engine and mbarriers: boxes with their swizzle and their edges, pipelines, and maps that are
// refused.
#include "kernels/core/launch.h"
#include "kernels/device/block.h"
#include "kernels/device/mbarrier.h"
#include "kernels/device/shared.h"
#include "kernels/device/tensor_copy.h"
#include "tests/kernels/device/device_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

constexpr int kThreads = 64;
constexpr int kBoxRows = 24;

// The bytes of one box as they lie in shared memory.
__global__ void copy_box(std::uint16_t* out, const __grid_constant__ TensorMap map, int col, int row, int elements) {
    SharedArena arena;
    std::uint16_t* tile = arena.take<std::uint16_t>(elements, 1024);
    const std::uint32_t full = shared_address(arena.take<std::uint64_t>(1));
    if (thread_index() == 0) {
        mbarrier_init(full, 1);
        fence_mbarrier_init();
        mbarrier_arrive_expect(full, 2 * elements);
        tensor_copy(shared_address(tile), map, col, row, full);
    }
    block_barrier();  // the mbarrier is ready
    mbarrier_wait(full, 0);
    for (int i = thread_index(); i < elements; i += kThreads) out[i] = tile[i];
}

constexpr int kStages = 3;
constexpr int kTileFloats = 256;

// Warp 0 copies tiles ahead, warps 1 and 2 reverse them.
__global__ void reverse_tiles(float* out, const float* in, int tiles) {
    SharedArena arena;
    float* stage = arena.take<float>(kStages * kTileFloats);
    const std::uint32_t full = shared_address(arena.take<std::uint64_t>(2 * kStages)), empty = full + 8 * kStages;
    if (thread_index() == 0) {
        for (std::uint32_t i = 0; i < kStages; ++i) {
            mbarrier_init(full + 8 * i, 1);
            mbarrier_init(empty + 8 * i, 2);
        }
        fence_mbarrier_init();
    }
    block_barrier();  // the mbarriers are ready
    for (int tile = 0; tile < tiles; ++tile) {
        const int at = tile % kStages, phase = tile / kStages % 2;
        const std::uint32_t offset = 8 * static_cast<std::uint32_t>(at);
        float* floats = stage + at * kTileFloats;
        if (thread_index() == 0) {
            mbarrier_wait(empty + offset, phase ^ 1);  // both warps have read the tile before
            mbarrier_arrive_expect(full + offset, 4 * kTileFloats);
            copy_bulk(shared_address(floats), in + tile * kTileFloats, 2 * kTileFloats, full + offset);
            copy_bulk(shared_address(floats + kTileFloats / 2), in + tile * kTileFloats + kTileFloats / 2,
                      2 * kTileFloats, full + offset);
        } else if (warp_index() > 0) {
            mbarrier_wait(full + offset, phase);
            for (int i = thread_index() - 32; i < kTileFloats; i += 64) {
                out[tile * kTileFloats + i] = floats[kTileFloats - 1 - i];
            }
            warp_barrier();  // all lanes have read
            if (lane_index() == 0) mbarrier_arrive(empty + offset);
        }
    }
}

struct Box {
    int rows, cols;  // of the matrix
    int stride;
    int box_cols;
    int row, col;
};

/// Where element (r, c) of a box lies, counted in elements.
std::size_t swizzled(int r, int c, int box_cols) {
    const int chunk = box_cols == 64 ? c / 8 ^ r % 8 : c / 8 ^ r / 2 % 4;
    return static_cast<std::size_t>(r * box_cols + chunk * 8 + c % 8);
}

std::vector<std::uint16_t> numbered(int count) {
    std::vector<std::uint16_t> values(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) values[static_cast<std::size_t>(i)] = static_cast<std::uint16_t>(i + 1);
    return values;
}

Tensor view(const DeviceVector<std::uint16_t>& values, const Box& box) {
    return {values.data(), box.rows, box.cols, box.stride, DType::bf16, Place::device};
}

bool is_inside(const Box& box, int r, int c) {
    return box.row + r >= 0 && box.row + r < box.rows && box.col + c >= 0 && box.col + c < box.cols;
}

void check_copy(const Box& box) {
    const DeviceVector<std::uint16_t> in(numbered(box.rows * box.stride)), out(kBoxRows * box.box_cols);
    launch("test", copy_box, {.grid = {}, .threads = kThreads, .shared_bytes = 2 * kBoxRows * box.box_cols + 16}, {},
           out.data(), tensor_map(view(in, box), kBoxRows, box.box_cols), box.col, box.row, kBoxRows * box.box_cols);
    const std::vector<std::uint16_t> values = out.values();
    for (int r = 0; r < kBoxRows; ++r) {
        for (int c = 0; c < box.box_cols; ++c) {
            const int element = (box.row + r) * box.stride + box.col + c;
            INFO("row " << r << ", column " << c);
            REQUIRE(values[swizzled(r, c, box.box_cols)] == (is_inside(box, r, c) ? element + 1 : 0));
        }
    }
}

/// Inside, over each edge, and in columns of a wider matrix.
std::vector<Box> boxes() {
    return {{64, 64, 64, 64, 8, 0},      {64, 64, 64, 32, 5, 32},   {40, 200, 208, 64, -3, -8},
            {40, 200, 208, 64, 30, 152}, {40, 72, 200, 32, 39, 64}, {40, 72, 200, 32, -23, 8},
            {1, 40, 40, 32, 0, 16}};
}

}  // namespace

TEST_CASE("tensor_copy brings a box swizzled, with zeros outside of the matrix") {
    if (!hopper_or_skip()) return;
    for_schedules(schedules(), [] {
        for (const Box& box : boxes()) check_copy(box);
    });
}

TEST_CASE("a pipeline over mbarriers delivers every tile, in whatever order copies land") {
    if (!hopper_or_skip()) return;
    for_schedules(3 * schedules(), [] {
        constexpr int kTiles = 8;
        std::vector<float> x(kTiles * kTileFloats);
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
        const DeviceVector<float> in(x), out(kTiles * kTileFloats);
        launch("test", reverse_tiles,
               {.grid = {}, .threads = 96, .shared_bytes = 4 * kStages * kTileFloats + 16 * kStages}, {}, out.data(),
               in.data(), kTiles);
        const std::vector<float> values = out.values();
        for (std::size_t i = 0; i < values.size(); ++i) {
            REQUIRE(values[i] == static_cast<float>(i / kTileFloats * kTileFloats + kTileFloats - 1 - i % kTileFloats));
        }
    });
}

TEST_CASE("tensor_map refuses what the copy engine cannot walk") {
    if (!hopper_or_skip()) return;
    const DeviceVector<std::uint16_t> values(64 * 64);
    const Tensor whole{values.data(), 64, 64, 64, DType::bf16, Place::device};
    TensorMap map = {};
    const auto refusal = [&](const Tensor& x, int rows, int cols) {
        return error_of([&] { map = tensor_map(x, rows, cols); });
    };
    CHECK(refusal(whole, 64, 64) == "");
    CHECK(refusal(whole, 64, 48).find("a box of 64 x 48 elements") != std::string::npos);
    CHECK(refusal(whole, 257, 64).find("up to 256 rows") != std::string::npos);
    Tensor wrong = whole;
    wrong.place = Place::host;
    CHECK(refusal(wrong, 64, 64).find("no bf16 matrix on the device") != std::string::npos);
    CHECK(refusal(whole.column_range(1, 32), 64, 32).find("multiples of 16 bytes") != std::string::npos);
    wrong = whole;
    wrong.stride = 60;
    CHECK(refusal(wrong, 32, 64).find("of stride 60") != std::string::npos);
    CHECK(refusal({}, 32, 64).find("tensor_map:") != std::string::npos);
}
