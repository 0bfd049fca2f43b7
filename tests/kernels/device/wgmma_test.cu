// wgmma against loops in double: every number of columns, both places of a, both majors and both swizzles, by the copy
// engine's boxes and by tiles that threads write.
#include "kernels/core/launch.h"
#include "kernels/device/block.h"
#include "kernels/device/mbarrier.h"
#include "kernels/device/proxy.h"
#include "kernels/device/shared.h"
#include "kernels/device/tensor_copy.h"
#include "kernels/device/wgmma.h"
#include "tests/kernels/device/device_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

constexpr int kThreads = 128;
constexpr int kRows = 64, kDepth = 64;  // of a [64, 64]
constexpr int kSteps = kDepth / 16;

/// How a product's factors lie: K-major a is [64, k] in memory, MN-major [k, 64]; likewise b, [n, k] or [k, n].
template <int columns, int bytes_of_row, bool a_is_mn_major, bool b_is_mn_major>
struct Form {
    static constexpr int n = columns;
    static constexpr int row_bytes = bytes_of_row;
    static constexpr bool a_mn = a_is_mn_major, b_mn = b_is_mn_major;
    static constexpr int box_cols = row_bytes / 2;
};

template <typename Form>
__device__ MatrixDescriptor descriptor(std::uint32_t address, int leading_bytes) {
    if constexpr (Form::row_bytes == 128) return descriptor_128(address, leading_bytes, 1024);
    return descriptor_64(address, leading_bytes, 512);
}

/// A tile in boxes of `rows` rows after one another: the part of 16 k from 16 `step` on.
template <typename Form>
__device__ MatrixDescriptor part(std::uint32_t tile, int rows, bool mn_major, int step) {
    const int box_bytes = rows * Form::row_bytes;
    if (mn_major) {
        return advance(descriptor<Form>(tile, box_bytes), step * 16 * Form::row_bytes);
    }
    const int box = 16 * step / Form::box_cols, column = 16 * step % Form::box_cols;
    return advance(descriptor<Form>(tile, 0), box * box_bytes + 2 * column);
}

/// All columns of a matrix of `rows` rows, box by box.
template <typename Form>
__device__ void start_copies(std::uint32_t tile, const TensorMap& map, int rows, int cols, std::uint32_t barrier) {
    for (int col = 0; col < cols; col += Form::box_cols) {
        tensor_copy(tile, map, col, 0, barrier);
        tile += static_cast<std::uint32_t>(rows * Form::row_bytes);
    }
}

/// d [64, n], as the threads of the warpgroup hold it.
template <int n, typename Visit>
__device__ void for_elements(Visit visit) {
    const int row = warp_index() * 16 + lane_index() / 4, pair = 2 * (lane_index() % 4);
#pragma unroll
    for (int i = 0; i < n / 2; ++i) visit(i, (row + i % 4 / 2 * 8) * n + i / 4 * 8 + pair + i % 2);
}

// d += a b, both factors by the copy engine.
template <typename Form>
__global__ void __launch_bounds__(kThreads, 1)
    multiply(float* d, const __grid_constant__ TensorMap a_map, const __grid_constant__ TensorMap b_map) {
    SharedArena arena;
    const std::uint32_t a = shared_address(arena.take<bf16>(kRows * kDepth, 1024));
    const std::uint32_t b = shared_address(arena.take<bf16>(Form::n * kDepth, 1024));
    const std::uint32_t full = shared_address(arena.take<std::uint64_t>(1));
    constexpr int a_rows = Form::a_mn ? kDepth : kRows, b_rows = Form::b_mn ? kDepth : Form::n;
    if (thread_index() == 0) {
        mbarrier_init(full, 1);
        fence_mbarrier_init();
        prefetch_tensor_map(a_map);
        mbarrier_arrive_expect(full, 2 * kDepth * (kRows + Form::n));
        start_copies<Form>(a, a_map, a_rows, Form::a_mn ? kRows : kDepth, full);
        start_copies<Form>(b, b_map, b_rows, Form::b_mn ? Form::n : kDepth, full);
    }
    block_barrier();  // the mbarrier is ready
    float sum[Form::n / 2];
    for_elements<Form::n>([&](int i, int element) { sum[i] = d[element]; });
    mbarrier_wait(full, 0);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
        wgmma_m64<Form::n, Form::b_mn, Form::a_mn>(sum, part<Form>(a, a_rows, Form::a_mn, step),
                                                   part<Form>(b, b_rows, Form::b_mn, step), true);
    }
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_hold(sum);
    for_elements<Form::n>([&](int i, int element) { d[element] = sum[i]; });
}

// d = a b with a [64, 64] in registers. b is written by the threads.
template <typename Form>
__global__ void __launch_bounds__(kThreads, 1) multiply_registers(float* d, const bf16* a, const bf16* b) {
    static_assert(!Form::a_mn, "registers hold rows of a");
    constexpr int b_rows = Form::b_mn ? kDepth : Form::n, b_cols = Form::b_mn ? Form::n : kDepth;
    unsigned char* tile = SharedArena().take<unsigned char>(2 * Form::n * kDepth, 1024);
    for (int i = thread_index(); i < b_rows * b_cols; i += kThreads) {
        const int row = i / b_cols, col = i % b_cols;
        const int linear = (col / Form::box_cols * b_rows + row) * Form::row_bytes + col % Form::box_cols * 2;
        const int swizzled = linear ^ ((linear >> 7 & (Form::row_bytes == 128 ? 7 : 3)) << 4);
        *reinterpret_cast<bf16*>(tile + swizzled) = b[i];
    }
    fence_async_shared();
    block_barrier();  // the tile is written, and wgmma sees it
    std::uint32_t words[kSteps][4];
    const int row = warp_index() * 16 + lane_index() / 4, pair = 2 * (lane_index() % 4);
#pragma unroll
    for (int i = 0; i < kSteps * 4; ++i) {
        const bf16* from = a + (row + i % 2 * 8) * kDepth + i / 4 * 16 + i % 4 / 2 * 8 + pair;
        words[i / 4][i % 4] = from[0].bits | static_cast<std::uint32_t>(from[1].bits) << 16;
    }
    float sum[Form::n / 2];
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
        wgmma_m64<Form::n, Form::b_mn>(sum, words[step], part<Form>(shared_address(tile), b_rows, Form::b_mn, step),
                                       step > 0);
    }
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_hold(sum);
    for_elements<Form::n>([&](int i, int element) { d[element] = sum[i]; });
}

// Two groups in flight, each with its own d: the first is used while the second still runs. Then p = a b, packed in
// registers, is the left factor of p c: as the two products of attention.
__global__ void __launch_bounds__(kThreads, 1)
    multiply_in_turn(float* d, const __grid_constant__ TensorMap a_map, const __grid_constant__ TensorMap b_map,
                     const __grid_constant__ TensorMap c_map) {
    using Tile = Form<64, 128, false, false>;
    SharedArena arena;
    std::uint32_t tile[3];
    for (std::uint32_t& address : tile) address = shared_address(arena.take<bf16>(kRows * kDepth, 1024));
    const std::uint32_t full = shared_address(arena.take<std::uint64_t>(3));
    if (thread_index() == 0) {
        for (std::uint32_t i = 0; i < 3; ++i) mbarrier_init(full + 8 * i, 1);
        fence_mbarrier_init();
        const TensorMap* const maps[3] = {&a_map, &b_map, &c_map};
        for (std::uint32_t i = 0; i < 3; ++i) {
            mbarrier_arrive_expect(full + 8 * i, 2 * kRows * kDepth);
            start_copies<Tile>(tile[i], *maps[i], kRows, kDepth, full + 8 * i);
        }
    }
    block_barrier();  // the mbarriers are ready
    float first[32], second[32], result[32];
    mbarrier_wait(full, 0);
    mbarrier_wait(full + 8, 0);
    wgmma_fence();
    for (int step = 0; step < kSteps; ++step) {
        wgmma_m64<64, false>(first, part<Tile>(tile[0], kRows, false, step), part<Tile>(tile[1], kRows, false, step),
                             step > 0);
    }
    wgmma_commit();
    for (int step = 0; step < kSteps; ++step) {
        wgmma_m64<64, false>(second, part<Tile>(tile[1], kRows, false, step), part<Tile>(tile[0], kRows, false, step),
                             step > 0);
    }
    wgmma_commit();
    wgmma_wait<1>();
    wgmma_hold(first);
    std::uint32_t words[kSteps][4];
    for (int i = 0; i < kSteps * 4; ++i) words[i / 4][i % 4] = pack_bf16(first[2 * i], first[2 * i + 1]);
    mbarrier_wait(full + 16, 0);
    wgmma_fence();
    for (int step = 0; step < kSteps; ++step) {
        wgmma_m64<64, true>(result, words[step], part<Tile>(tile[2], kDepth, true, step), step > 0);
    }
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_hold(second);
    wgmma_hold(result);
    for_elements<64>([&](int i, int element) {
        d[element] = second[i];
        d[kRows * 64 + element] = result[i];
    });
}

std::vector<bf16> random_halves(int count, std::uint64_t seed) {
    const Array array = random_array(DType::bf16, 1, count, seed);
    std::vector<bf16> values;
    for (int i = 0; i < count; ++i) values.emplace_back(array[i]);
    return values;
}

Tensor matrix(const DeviceVector<bf16>& values, int rows, int cols) {
    return {values.data(), rows, cols, cols, DType::bf16, Place::device};
}

/// before + a b, element by element: a [64, 64] and b [64, n], each also stored the other way round.
void check_product(const std::vector<float>& d, const std::vector<bf16>& a, bool a_mn, const std::vector<bf16>& b,
                   bool b_mn, int n, double before) {
    for (int row = 0; row < kRows; ++row) {
        for (int column = 0; column < n; ++column) {
            double sum = before;
            for (int k = 0; k < kDepth; ++k) {
                const int in_a = a_mn ? k * kRows + row : row * kDepth + k;
                const int in_b = b_mn ? k * n + column : column * kDepth + k;
                sum += static_cast<double>(a[static_cast<std::size_t>(in_a)]) *
                       static_cast<double>(b[static_cast<std::size_t>(in_b)]);
            }
            INFO("row " << row << ", column " << column);
            REQUIRE(d[static_cast<std::size_t>(row * n + column)] == Approx(sum).margin(2e-5));
        }
    }
}

template <typename Form>
void check_form() {
    const std::vector<bf16> a = random_halves(kRows * kDepth, 1), b = random_halves(Form::n * kDepth, 2);
    const DeviceVector<bf16> a_in(a), b_in(b);
    constexpr int a_rows = Form::a_mn ? kDepth : kRows, b_rows = Form::b_mn ? kDepth : Form::n;
    const DeviceVector<float> d(std::vector<float>(static_cast<std::size_t>(kRows * Form::n), 0.5f));
    launch("test", multiply<Form>,
           {.grid = {}, .threads = kThreads, .shared_bytes = 2 * kDepth * (kRows + Form::n) + 16}, {}, d.data(),
           tensor_map(matrix(a_in, a_rows, kRows * kDepth / a_rows), a_rows, Form::box_cols),
           tensor_map(matrix(b_in, b_rows, Form::n * kDepth / b_rows), b_rows, Form::box_cols));
    check_product(d.values(), a, Form::a_mn, b, Form::b_mn, Form::n, 0.5);
}

template <typename Form>
void check_registers() {
    const std::vector<bf16> a = random_halves(kRows * kDepth, 3), b = random_halves(Form::n * kDepth, 4);
    const DeviceVector<bf16> a_in(a), b_in(b);
    const DeviceVector<float> d(kRows * Form::n);
    launch("test", multiply_registers<Form>, {.grid = {}, .threads = kThreads, .shared_bytes = 2 * Form::n * kDepth},
           {}, d.data(), a_in.data(), b_in.data());
    check_product(d.values(), a, false, b, Form::b_mn, Form::n, 0);
}

}  // namespace

TEST_CASE("wgmma multiplies tiles in shared memory, K-major and MN-major, in rows of 128 and 64 bytes") {
    if (!hopper_or_skip()) return;
    for_schedules(schedules(), [] {
        check_form<Form<64, 128, false, false>>();
        check_form<Form<64, 128, false, true>>();
        check_form<Form<64, 128, true, false>>();
        check_form<Form<64, 128, true, true>>();
        check_form<Form<32, 64, false, false>>();
        check_form<Form<32, 64, false, true>>();
        check_form<Form<64, 64, true, false>>();
        check_form<Form<128, 64, true, true>>();
    });
}

TEST_CASE("wgmma multiplies by every number of columns") {
    if (!hopper_or_skip()) return;
    for_schedules(2, [] {
        check_form<Form<32, 128, false, false>>();
        check_form<Form<128, 128, false, false>>();
        check_form<Form<128, 128, false, true>>();
        check_form<Form<192, 128, false, false>>();
        check_form<Form<192, 128, true, true>>();
        check_form<Form<256, 128, false, false>>();
        check_form<Form<256, 128, false, true>>();
    });
}

TEST_CASE("wgmma multiplies registers by tiles that threads have written") {
    if (!hopper_or_skip()) return;
    for_schedules(schedules(), [] {
        check_registers<Form<32, 64, false, false>>();
        check_registers<Form<64, 128, false, false>>();
        check_registers<Form<64, 128, false, true>>();
        check_registers<Form<128, 64, false, true>>();
        check_registers<Form<128, 128, false, true>>();
        check_registers<Form<192, 128, false, false>>();
        check_registers<Form<256, 128, false, true>>();
    });
}

TEST_CASE("wgmma in two groups, the result of one a factor of the next") {
    if (!hopper_or_skip()) return;
    for_schedules(3 * schedules(), [] {
        const std::vector<bf16> a = random_halves(kRows * kDepth, 5), b = random_halves(kRows * kDepth, 6),
                                c = random_halves(kRows * kDepth, 7);
        const DeviceVector<bf16> a_in(a), b_in(b), c_in(c);
        const DeviceVector<float> d(2 * kRows * 64);
        launch("test", multiply_in_turn, {.grid = {}, .threads = kThreads, .shared_bytes = 3 * 2 * kRows * kDepth + 24},
               {}, d.data(), tensor_map(matrix(a_in, 64, 64), 64, 64), tensor_map(matrix(b_in, 64, 64), 64, 64),
               tensor_map(matrix(c_in, 64, 64), 64, 64));
        const std::vector<float> values = d.values();
        check_product(values, b, false, a, false, 64, 0);
        std::vector<bf16> p;
        for (int row = 0; row < kRows; ++row) {
            for (int column = 0; column < 64; ++column)
                p.emplace_back(values[static_cast<std::size_t>(column * 64 + row)]);
        }
        check_product({values.begin() + kRows * 64, values.end()}, p, false, c, true, 64, 0);
    });
}
