// What compute capability 9.0 has besides: wgmma, the copy engine, memory of the cluster. Products of small integers
// are exact whatever the order of the sums, so that all of their bits are fixed: they tell where each element lies.
#include "kernels/device/block.h"
#include "kernels/device/cluster.h"
#include "kernels/device/mbarrier.h"
#include "kernels/device/proxy.h"
#include "kernels/device/shared.h"
#include "kernels/device/tensor_copy.h"
#include "kernels/device/wgmma.h"
#include "tests/instructions/case_words.h"
#include "tests/instructions/instructions.h"

namespace cloze::instructions {

namespace {

constexpr int kWarpgroup = 128;
constexpr int kRows = 64, kDepth = 64;  // of a [64, 64]
constexpr int kHopper = 90;

/// How the factors of a product lie; "MN-major" is the other way round than rows of a and columns of b.
template <int columns, int bytes_of_row, bool a_is_mn_major, bool b_is_mn_major, bool a_is_in_registers>
struct Form {
    static constexpr int n = columns, row_bytes = bytes_of_row, row_words = row_bytes / 4;
    static constexpr bool a_mn = a_is_mn_major, b_mn = b_is_mn_major, a_in_registers = a_is_in_registers;
    static constexpr int input_words = (kRows + n) * kDepth / 2, output_words = kRows * n;
};

/// Writes a matrix of `rows` x `cols` elements into `tile`, box after box, swizzled.
template <typename Form>
__device__ void write_tile(std::uint32_t* tile, const std::uint32_t* in, int rows, int cols) {
    for (int i = thread_index(); i < rows * cols / 2; i += kWarpgroup) {
        const int row = i / (cols / 2), word = i % (cols / 2);
        const int linear = (word / Form::row_words * rows + row) * Form::row_bytes + word % Form::row_words * 4;
        tile[(linear ^ ((linear >> 7 & (Form::row_bytes == 128 ? 7 : 3)) << 4)) / 4] = in[i];
    }
}

template <typename Form>
__device__ MatrixDescriptor part(const std::uint32_t* tile, int rows, bool mn_major, int step) {
    const std::uint32_t address = shared_address(tile);
    const int box_bytes = rows * Form::row_bytes, stride_bytes = 8 * Form::row_bytes;
    const MatrixDescriptor first = Form::row_bytes == 128 ? descriptor_128(address, box_bytes, stride_bytes)
                                                          : descriptor_64(address, box_bytes, stride_bytes);
    if (mn_major) return advance(first, step * 2 * stride_bytes);
    return advance(first, 32 * step / Form::row_bytes * box_bytes + 32 * step % Form::row_bytes);
}

/// The words of a's fragment for 16 k from 16 `step` on, from rows of `row_words` words.
__device__ void load_fragment(std::uint32_t (&words)[4], const std::uint32_t* a, int row_words, int step) {
    const int row = warp_index() * 16 + lane_index() / 4;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        words[i] = a[(row + i % 2 * 8) * row_words + step * 8 + i / 2 * 4 + lane_index() % 4];
    }
}

// Inputs: a, then b.
template <typename Form>
__global__ void __launch_bounds__(kWarpgroup, 1) multiply(std::uint32_t* out, const std::uint32_t* in) {
    constexpr int b_rows = Form::b_mn ? kDepth : Form::n;
    in += case_index() * Form::input_words;
    out += case_index() * Form::output_words;
    SharedArena arena;
    std::uint32_t* a = arena.take<std::uint32_t>(kRows * kDepth / 2, 1024);
    std::uint32_t* b = arena.take<std::uint32_t>(Form::n * kDepth / 2, 1024);
    if (!Form::a_in_registers) write_tile<Form>(a, in, kRows, kDepth);
    write_tile<Form>(b, in + kRows * kDepth / 2, b_rows, Form::n * kDepth / b_rows);
    fence_async_shared();
    block_barrier();  // the tiles are written, and wgmma sees them
    float d[Form::n / 2];
    std::uint32_t words[4][4];
    if constexpr (Form::a_in_registers) {
        static_assert(!Form::a_mn, "registers hold rows of a");
#pragma unroll
        for (int step = 0; step < 4; ++step) load_fragment(words[step], in, kDepth / 2, step);
    }
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < 4; ++step) {
        const MatrixDescriptor of_b = part<Form>(b, b_rows, Form::b_mn, step);
        if constexpr (Form::a_in_registers) {
            wgmma_m64<Form::n, Form::b_mn>(d, words[step], of_b, step > 0);
        } else {
            wgmma_m64<Form::n, Form::b_mn, Form::a_mn>(d, part<Form>(a, kRows, Form::a_mn, step), of_b, step > 0);
        }
    }
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_hold(d);
    for (int i = 0; i < Form::n / 2; ++i) out[i * kWarpgroup + thread_index()] = canonical_bits(d[i]);
}

// Inputs and outputs as tests/instructions/inputs.h lays out a tall product: one instruction, of any numbers.
__global__ void __launch_bounds__(kWarpgroup, 1) add_tall_product(std::uint32_t* out, const std::uint32_t* in) {
    in += case_index() * (kTallAWords + kTallBWords + kTallDWords);
    out += case_index() * kTallDWords;
    std::uint32_t* b = SharedArena().take<std::uint32_t>(kTallColumns * 32, 1024);
    for (int i = thread_index(); i < kTallColumns * 32; i += kWarpgroup) b[i] = 0;
    block_barrier();  // the rest of each row is zero
    for (int i = thread_index(); i < kTallBWords; i += kWarpgroup) {
        const int column = i / 8, chunk = i % 8 / 4 ^ column % 8;
        b[column * 32 + chunk * 4 + i % 4] = in[kTallAWords + i];
    }
    std::uint32_t words[4];
    load_fragment(words, in, 8, 0);
    fence_async_shared();
    block_barrier();  // the tile is written, and wgmma sees it
    const int row = warp_index() * 16 + lane_index() / 4, pair = 2 * (lane_index() % 4);
    const auto place = [&](int i) { return (row + i % 4 / 2 * 8) * kTallColumns + i / 4 * 8 + pair + i % 2; };
    float d[kTallColumns / 2];
    for (int i = 0; i < kTallColumns / 2; ++i) d[i] = float_of_bits(in[kTallAWords + kTallBWords + place(i)]);
    wgmma_fence();
    wgmma_m64<kTallColumns, false>(d, words, descriptor_128(shared_address(b), 0, 1024), true);
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_hold(d);
    for (int i = 0; i < kTallColumns / 2; ++i) out[place(i)] = bits_of_float(d[i]);
}

// The copy engine: each case has rows of one matrix. Where its box lies, its first words say.
constexpr Boxes kWideBoxes{.case_rows = 40, .cols = 72, .box_rows = 24, .box_cols = 64};
constexpr Boxes kNarrowBoxes{.case_rows = 40, .cols = 72, .box_rows = 24, .box_cols = 32};

template <int box_cols>
__global__ void copy_box(std::uint32_t* out, const std::uint32_t* in, const __grid_constant__ TensorMap map) {
    constexpr Boxes kBoxes = box_cols == 64 ? kWideBoxes : kNarrowBoxes;
    constexpr int kBoxWords = kBoxes.box_rows * kBoxes.box_cols / 2;
    in += case_index() * kBoxes.case_rows * kBoxes.cols / 2;
    SharedArena arena;
    std::uint32_t* tile = arena.take<std::uint32_t>(kBoxWords, 1024);
    const std::uint32_t full = shared_address(arena.take<std::uint64_t>(1));
    if (thread_index() == 0) {
        mbarrier_init(full, 1);
        fence_mbarrier_init();
        const int rows = kBoxes.case_rows + kBoxes.box_rows - 1;  // from the last above to the first below
        const int row = static_cast<int>(in[0] % static_cast<std::uint32_t>(rows)) - kBoxes.box_rows + 1;
        const int steps = (kBoxes.cols + box_cols) / 8 - 1;
        const int col = (static_cast<int>(in[1] % static_cast<std::uint32_t>(steps)) + 1) * 8 - box_cols;
        mbarrier_arrive_expect(full, 4 * kBoxWords);
        tensor_copy(shared_address(tile), map, col, static_cast<int>(case_index()) * kBoxes.case_rows + row, full);
    }
    block_barrier();  // the mbarrier is ready
    mbarrier_wait(full, 0);
    for (int i = thread_index(); i < kBoxWords; i += 32) out[case_index() * kBoxWords + i] = tile[i];
}

constexpr int kBulkWords = 128;

// Inputs: the source, then how much of it.
__global__ void copy_some(std::uint32_t* out, const std::uint32_t* in) {
    in += case_index() * (kBulkWords + 4);
    SharedArena arena;
    std::uint32_t* words = arena.take<std::uint32_t>(kBulkWords);
    const std::uint32_t full = shared_address(arena.take<std::uint64_t>(1));
    for (int i = thread_index(); i < kBulkWords; i += 32) words[i] = 0;
    fence_async_shared();
    if (thread_index() == 0) {
        mbarrier_init(full, 1);
        fence_mbarrier_init();
    }
    warp_barrier();  // the words are written, the mbarrier is ready
    if (thread_index() == 0) {
        const int bytes = static_cast<int>(in[kBulkWords] % 32 + 1) * 16;
        mbarrier_arrive_expect(full, bytes);
        copy_bulk(shared_address(words), in, bytes, full);
    }
    mbarrier_wait(full, 0);
    for (int i = thread_index(); i < kBulkWords; i += 32) out[case_index() * kBulkWords + i] = words[i];
}

constexpr int kClusterBlocks = 4, kClusterWords = 2 * 128;

// Each block leaves 16 bytes a lane, reads those of the block that its inputs name, and writes them to the next.
__global__ void exchange_in_cluster(std::uint32_t* out, const std::uint32_t* in) {
    in += case_index() * 128;
    out += case_index() * kClusterWords;
    std::uint32_t* words = SharedArena().take<std::uint32_t>(kClusterWords);
    std::uint32_t* own = words + 4 * lane_index();
    for (int i = 0; i < 4; ++i) own[i] = in[4 * lane_index() + i];
    cluster_arrive();
    cluster_wait();  // all blocks have written
    const int from = static_cast<int>(in[0] % kClusterBlocks), next = (cluster_rank() + 1) % kClusterBlocks;
    const Floats4 x = load_remote(remote_address(shared_address(own), from));
    store_remote(remote_address(shared_address(own + 128), next), x);
    cluster_arrive();
    cluster_wait();  // nobody reaches this block any more
    for (int i = 0; i < 4; ++i) {
        out[4 * lane_index() + i] = own[i];
        out[128 + 4 * lane_index() + i] = own[128 + i];
    }
}

template <typename Form>
Instruction product_of(const char* name) {
    return {.name = name,
            .kernel = multiply<Form>,
            .input_words = Form::input_words,
            .output_words = Form::output_words,
            .inputs = small_integers,
            .cases = 32,
            .threads = kWarpgroup,
            .shared_bytes = 2 * kDepth * (kRows + Form::n),
            .compute_capability = kHopper,
            .newer_have_it = false};
}

template <int box_cols>
Instruction copy_of(const char* name, Boxes boxes) {
    const int box_words = boxes.box_rows * boxes.box_cols / 2;
    return {.name = name,
            .mapped_kernel = copy_box<box_cols>,
            .boxes = boxes,
            .input_words = boxes.case_rows * boxes.cols / 2,
            .output_words = box_words,
            .cases = 256,
            .shared_bytes = 4 * box_words + 8,
            .compute_capability = kHopper,
            .newer_have_it = false};
}

std::vector<Instruction> products() {
    return {
        product_of<Form<64, 128, false, false, false>>("wgmma of 64 columns, a and b K-major"),
        product_of<Form<64, 128, false, true, false>>("wgmma of 64 columns, b MN-major"),
        product_of<Form<64, 128, true, false, false>>("wgmma of 64 columns, a MN-major"),
        product_of<Form<64, 128, true, true, false>>("wgmma of 64 columns, a and b MN-major"),
        product_of<Form<64, 64, false, false, false>>("wgmma of rows of 64 bytes, a and b K-major"),
        product_of<Form<64, 64, true, true, false>>("wgmma of rows of 64 bytes, a and b MN-major"),
        product_of<Form<64, 128, false, false, true>>("wgmma of registers, b K-major"),
        product_of<Form<64, 128, false, true, true>>("wgmma of registers, b MN-major"),
        product_of<Form<64, 64, false, false, true>>("wgmma of registers, b K-major in rows of 64 bytes"),
        product_of<Form<64, 64, false, true, true>>("wgmma of registers, b MN-major in rows of 64 bytes"),
        product_of<Form<32, 128, false, false, false>>("wgmma of 32 columns"),
        product_of<Form<128, 128, false, false, false>>("wgmma of 128 columns"),
        product_of<Form<192, 128, false, true, false>>("wgmma of 192 columns"),
        product_of<Form<256, 128, false, true, false>>("wgmma of 256 columns"),
    };
}

}  // namespace

std::vector<Instruction> of_hopper() {
    std::vector<Instruction> all = products();
    const Instruction others[] = {
        {.name = "wgmma",
         .kernel = add_tall_product,
         .input_words = kTallAWords + kTallBWords + kTallDWords,
         .output_words = kTallDWords,
         .inputs = tall_matrix_word,
         .outputs = Outputs::tall_product,
         .cases = 16,
         .threads = kWarpgroup,
         .shared_bytes = kTallColumns * 128,
         .compute_capability = kHopper,
         .newer_have_it = false},
        copy_of<64>("tensor_copy of rows of 128 bytes", kWideBoxes),
        copy_of<32>("tensor_copy of rows of 64 bytes", kNarrowBoxes),
        {.name = "copy_bulk",
         .kernel = copy_some,
         .input_words = kBulkWords + 4,
         .output_words = kBulkWords,
         .cases = 256,
         .shared_bytes = 4 * kBulkWords + 8,
         .compute_capability = kHopper,
         .newer_have_it = false},
        {.name = "load_remote and store_remote",
         .kernel = exchange_in_cluster,
         .input_words = 128,
         .output_words = kClusterWords,
         .cases = 256,
         .shared_bytes = 4 * kClusterWords,
         .cluster = kClusterBlocks,
         .compute_capability = kHopper,
         .newer_have_it = false},
    };
    all.insert(all.end(), std::begin(others), std::end(others));
    return all;
}

}  // namespace cloze::instructions
