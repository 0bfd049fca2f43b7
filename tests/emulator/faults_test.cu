// Each fault that a device would commit without a word, planted once: the emulator must name it, under every schedule.
// Beside each stands the right kernel, which must pass.
#include "kernels/core/launch.h"
#include "kernels/device/block.h"
#include "kernels/device/copy_async.h"
#include "kernels/device/mma.h"
#include "kernels/device/previous_kernel.h"
#include "kernels/device/shared.h"
#include "kernels/device/vector.h"
#include "tests/emulator/emulator.h"
#include "tests/emulator/host_code.h"
#include "tests/kernels/device/device_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

struct Launch {
    int threads = 64;
    int shared_bytes = 1024;
    std::int64_t blocks = 1;
    bool programmatic = false;
};

/// kernel(out, in) on 1,024 floats each must fail with all of `words` in its message, under every seed.
void expect_fault(void (*kernel)(float*, const float*), const std::vector<std::string>& words, Launch shape = {}) {
    for_schedules(2 * schedules(), [&] {
        const DeviceVector<float> out(1024), in(std::vector<float>(1024, 1.0f));
        const std::string message = error_of([&] {
            launch("planted", kernel,
                   {.grid = {.x = shape.blocks},
                    .threads = shape.threads,
                    .shared_bytes = shape.shared_bytes,
                    .programmatic = shape.programmatic},
                   {}, out.data(), in.data());
        });
        INFO("message: " << message);
        CHECK(message.find("device: planted: ") == 0);
        for (const std::string& word : words) CHECK(message.find(word) != std::string::npos);
    });
}

// Launched so that it may start before the kernel before it has ended.
template <bool waits>
__global__ void read_what_the_kernel_before_wrote(float* out, const float* in) {
    if (waits || thread_index() != 5) wait_for_previous_kernel();
    out[thread_index()] = in[thread_index()];
}

__device__ float* tile() {
    return SharedArena().take<float>(256);
}

template <bool barrier>
__global__ void read_neighbour(float* out, const float* in) {
    tile()[thread_index()] = in[thread_index()];
    if constexpr (barrier) block_barrier();
    out[thread_index()] = tile()[(thread_index() + 33) % 64];
}

template <bool barrier>
__global__ void read_in_warp(float* out, const float* in) {
    tile()[thread_index()] = in[thread_index()];
    if constexpr (barrier) warp_barrier();
    out[thread_index()] = tile()[thread_index() ^ 1];
}

// Threads 0, 20 and 40 read one element; thread 63 then overwrites it.
template <bool barrier>
__global__ void overwrite_what_others_read(float* out, const float* in) {
    if (thread_index() == 63) tile()[0] = in[0];
    block_barrier();
    if (thread_index() % 20 == 0) out[thread_index()] = tile()[0];
    if constexpr (barrier) block_barrier();
    if (thread_index() == 63) tile()[0] = 2;
}

// Two readers, then one of them writes: a history with one reader would forget the other.
__global__ void two_readers_one_writes(float* out, const float* in) {
    if (thread_index() == 63) tile()[0] = in[0];
    block_barrier();
    if (thread_index() == 0) out[0] = tile()[0];
    if (thread_index() == 40) {
        out[40] = tile()[0];
        tile()[0] = 2;
    }
}

// Only the halves of bytes that belong to the neighbour.
template <bool apart>
__global__ void write_halves(float* out, const float*) {
    auto* halves = reinterpret_cast<std::uint16_t*>(tile());
    halves[apart ? thread_index() : thread_index() / 2] = 1;
    out[thread_index()] = 0;
}

template <bool apart>
__global__ void write_from_two_blocks(float* out, const float*) {
    out[thread_index() + (apart ? 64 * block_x() : 0)] = static_cast<float>(block_x());
}

__global__ void read_other_block(float* out, const float*) {
    if (block_x() == 0) out[thread_index()] = 1;
    if (block_x() == 1) out[64 + thread_index()] = out[thread_index()];
}

__global__ void copy_without_ordering_blocks(float* out, const float*) {
    std::memset(out + 16 * thread_index(), 0, thread_index() < 32 ? 68 : 60);
}

template <bool wait, bool barrier>
__global__ void read_copy(float* out, const float* in) {
    copy_async_16(shared_address(tile() + 4 * thread_index()), in + 4 * thread_index());
    commit_copies();
    if constexpr (wait) wait_for_copies<0>();
    if constexpr (barrier) block_barrier();
    for (int i = 0; i < 4; ++i) out[4 * thread_index() + i] = tile()[4 * ((thread_index() + 40) % 64) + i];
}

__global__ void read_own_copy_too_early(float* out, const float* in) {
    copy_async_16(shared_address(tile() + 4 * thread_index()), in + 4 * thread_index());
    commit_copies();
    copy_async_16(shared_address(tile() + 4 * thread_index()), in + 4 * thread_index());
    commit_copies();
    wait_for_copies<1>();
    out[thread_index()] = tile()[4 * thread_index()];
}

__global__ void overwrite_copy_source(float* out, const float*) {
    copy_async_16(shared_address(tile() + 4 * thread_index()), out + 4 * thread_index());
    commit_copies();
    out[4 * thread_index()] = 1;
}

__global__ void shuffle_in_one_branch(float* out, const float* in) {
    float value = in[thread_index()];
    if (lane_index() < 16) value = shuffle_xor(value, 1);
    out[thread_index()] = value;
}

__global__ void shuffle_in_two_branches(float* out, const float* in) {
    float value = in[thread_index()];
    if (lane_index() < 16) {
        value = shuffle_xor(value, 1);
    } else {
        value = shuffle_xor(value, 2);
    }
    out[thread_index()] = value;
}

__global__ void multiply_without_a_lane(float* out, const float* in) {
    if (thread_index() == 7) return;
    float d[4] = {};
    const std::uint32_t a[4] = {}, b[2] = {};
    mma_m16n8k16(d, a, b);
    out[thread_index()] = d[0] + in[0];
}

__global__ void barrier_in_two_branches(float* out, const float* in) {
    if (warp_index() == 0) {
        block_barrier();
    } else {
        block_barrier();
    }
    out[thread_index()] = in[0];
}

__global__ void barriers_that_wait_for_each_other(float* out, const float* in) {
    named_barrier_wait(1 + warp_index(), 64);
    out[thread_index()] = in[0];
}

__global__ void barrier_with_early_exit(float* out, const float* in) {
    if (warp_index() == 1) return;
    block_barrier();
    out[thread_index()] = in[0];
}

__global__ void named_barrier_with_two_counts(float* out, const float* in) {
    named_barrier_wait(3, warp_index() == 0 ? 64 : 32);
    out[thread_index()] = in[0];
}

__global__ void write_past_the_end(float* out, const float* in) {
    out[thread_index() + 961] = in[0];
}

__global__ void read_before_the_start(float* out, const float* in) {
    out[thread_index()] = in[thread_index() - 1];
}

__global__ void read_vector_past_the_end(float* out, const float* in) {
    store8(out + 8 * thread_index(), load8(in + 1020));
}

__global__ void read_misaligned_vector(float* out, const float* in) {
    store8(out + 8 * thread_index(), load8(in + 1));
}

__global__ void write_past_shared_memory(float* out, const float* in) {
    tile()[thread_index() + 193] = in[0];
    out[thread_index()] = 0;
}

__global__ void copy_misaligned(float* out, const float* in) {
    copy_async_16(shared_address(tile() + 4 * thread_index() + 1), in + 4 * thread_index());
    out[thread_index()] = 0;
}

float host_value = 0, host_value_seen = 1;

__global__ void write_host_memory(float* out, const float*) {
    host_value = 1;
    out[thread_index()] = 0;
}

// What a kernel calls is its own copy of an inline function; what the host's code calls is another.
__global__ void read_host_memory_in_inline_function(float* out, const float*) {
    out[thread_index()] = read_inline(host_value);
}

void read_host_memory() {
    host_value_seen = host_value;
}

__global__ void let_the_host_read(float* out, const float*) {
    out[thread_index()] = read_in_host_code(host_value);
    if (thread_index() == 0) run_beside(read_host_memory);
}

// An array that may be in registers: the element behind its last.
__global__ void index_past_registers(float* out, const float* in) {
    Floats8 x = load8(in);
    for (int i = 0; i <= 8; ++i) x[i] += 1;
    store8(out + 8 * thread_index(), x);
}

__global__ void read_unwritten(float* out, const float*) {
    out[thread_index()] = tile()[thread_index()];
}

}  // namespace

TEST_CASE("a missing block barrier is a race") {
    expect_fault(read_neighbour<false>, {"race on shared memory", "faults_test.cu:", "seed"});
    expect_fault(read_in_warp<false>, {"race on shared memory"});
}

TEST_CASE("an overwritten element that others still read is a race, also with two readers") {
    expect_fault(overwrite_what_others_read<false>, {"race on shared memory byte", "thread 63"});
    expect_fault(two_readers_one_writes, {"race on shared memory byte"});
}

TEST_CASE("races are found by byte, between blocks, and in what the compiler makes a copy") {
    expect_fault(write_halves<false>, {"race on shared memory"});
    expect_fault(write_from_two_blocks<false>, {"race on a device buffer", "of another block"}, {.blocks = 2});
    expect_fault(read_other_block, {"race on a device buffer", "of another block"}, {.blocks = 2});
    expect_fault(copy_without_ordering_blocks, {"race on a device buffer"});
}

TEST_CASE("a copy that nobody waited for is a race, for its own thread and for others") {
    expect_fault(read_copy<false, true>, {"a copy of thread"});
    expect_fault(read_copy<true, false>, {"a copy of thread"});
    expect_fault(read_own_copy_too_early, {"a copy of thread"});
    expect_fault(overwrite_copy_source, {"a copy of thread"});
}

TEST_CASE("a programmatic kernel that does not wait for the one before is named") {
    expect_fault(read_what_the_kernel_before_wrote<false>, {"before it has waited for the kernel before", "thread 5 "},
                 {.programmatic = true});
    const DeviceVector<float> out(1024), in(std::vector<float>(1024, 1.0f));
    launch("right", read_what_the_kernel_before_wrote<true>, {.grid = {}, .threads = 64, .programmatic = true}, {},
           out.data(), in.data());
    CHECK(out.values()[5] == 1);
}

TEST_CASE("right kernels give no report") {
    const auto runs = [](void (*kernel)(float*, const float*), std::int64_t blocks = 1) {
        for_schedules(3 * schedules(), [&] {
            const DeviceVector<float> out(1024), in(std::vector<float>(1024, 1.0f));
            CHECK(error_of([&] {
                      launch("right", kernel, {.grid = {.x = blocks}, .threads = 64, .shared_bytes = 1024}, {},
                             out.data(), in.data());
                  }) == "");
        });
    };
    runs(read_neighbour<true>);
    runs(read_in_warp<true>);
    runs(overwrite_what_others_read<true>);
    runs(write_halves<true>);
    runs(write_from_two_blocks<true>, 2);
    runs(read_copy<true, true>);
    runs(barrier_with_early_exit);
}

TEST_CASE("lanes that take part in different collectives are named") {
    expect_fault(shuffle_in_one_branch, {"shuffle_xor"});
    expect_fault(shuffle_in_two_branches, {"divergent warp: shuffle_xor at", "meets shuffle_xor"});
    expect_fault(multiply_without_a_lane, {"mma_m16n8k16", "has returned"}, {.threads = 32});
}

TEST_CASE("barriers that cannot open are reported with what each thread waits for") {
    expect_fault(barrier_in_two_branches, {"divergent block"});
    expect_fault(barriers_that_wait_for_each_other, {"deadlock", "thread 0-63 waits for named barrier at"});
    expect_fault(named_barrier_with_two_counts, {"named barrier"});
}

TEST_CASE("accesses outside of a buffer, or misaligned, are refused with their place") {
    expect_fault(write_past_the_end, {"writes 4 bytes at byte 4096 of a device buffer, which has 4096 bytes"});
    expect_fault(read_before_the_start, {"reads 4 bytes at byte", "of a device buffer"});
    expect_fault(read_vector_past_the_end, {"of a device buffer"});
    expect_fault(read_misaligned_vector, {"not aligned to 16"});
    expect_fault(write_past_shared_memory, {"of shared memory, which has 1024 bytes", "faults_test.cu:"});
    expect_fault(copy_misaligned, {"not aligned to 16"}, {.shared_bytes = 2048});
    expect_fault(write_host_memory, {"host memory"});
    expect_fault(read_host_memory_in_inline_function, {"reads 4 bytes of host memory", "host_code.h:"});
    expect_fault(index_past_registers, {"index 8 lies outside of an array, at tests/emulator/faults_test.cu:"});
    CHECK(host_value == 0);
    expect_fault(read_neighbour<true>, {"bytes of shared memory, a block has at most"}, {.shared_bytes = 300000});
}

TEST_CASE("what the host does while a kernel runs passes for no access of the kernel") {
    for_schedules(schedules(), [] {
        const DeviceVector<float> out(64);
        launch("host_code", let_the_host_read, {.grid = {}, .threads = 64}, {}, out.data(), out.data());
        CHECK(out.values() == std::vector<float>(64, 0.0f));
    });
    CHECK(host_value_seen == 0);
}

TEST_CASE("shared memory that nobody wrote is NaN, under other schedules huge") {
    bool positive = false, negative = false;
    for_schedules(3, [&] {
        const DeviceVector<float> out(64), in(64);
        launch("test", read_unwritten, {.grid = {}, .threads = 64, .shared_bytes = 1024}, {}, out.data(), in.data());
        const bool is_nan = emulated::settings().seed == 0;
        for (const float value : out.values()) CHECK((is_nan ? value != value : fabsf(value) > 1e38f));
        positive = positive || out.values()[0] > 1e38f;
        negative = negative || out.values()[0] < -1e38f;
    });
    CHECK(positive);
    CHECK(negative);
}
