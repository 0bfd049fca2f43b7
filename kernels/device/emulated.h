// The second bodies of the device vocabulary: plain declarations, defined under tests/emulator. Only the headers of
// this folder call them, and only in the emulator's build (CLOZE_EMULATED).
#pragma once

#include <cstdint>

#include "kernels/device/site.h"

namespace cloze {
struct TensorMap;
}

namespace cloze::emulated {

// Who am I.
int thread_index();
int threads_per_block();
std::int64_t block_x();
std::int64_t block_y();
std::int64_t blocks_x();
std::int64_t blocks_y();

// Shared memory. An address is an offset from the arena's start plus 1,024, so that 0 is never one.
unsigned char* shared_arena();
std::uint32_t shared_address(const void* pointer);

// Global and shared memory by explicit loads and stores: checked for bounds, alignment and races.
void load(void* to, const void* from, int bytes);
void store(void* to, const void* from, int bytes);

// Warp collectives: all 32 lanes post, the last one computes for all.
std::uint32_t shuffle_xor(std::uint32_t value, int lane_mask, Site site);
std::uint32_t shuffle_from(std::uint32_t value, int source_lane, Site site);
std::uint32_t ballot(bool predicate, Site site);
void warp_barrier(Site site);

// Block barriers. Barrier 0 with all live threads, or one of 1 to 15 with `threads` of them.
void block_barrier(Site site);
void named_barrier_wait(int barrier, int threads, Site site);
void named_barrier_arrive(int barrier, int threads, Site site);

// Tensor cores: fragments as in the PTX manual, one call by all 32 lanes.
void mma_m16n8k16_bf16(float* d, const std::uint32_t* a, const std::uint32_t* b, Site site);
void load_matrix(std::uint32_t* word, std::uint32_t row_address, int tiles, bool transposed, Site site);
void store_matrix(std::uint32_t row_address, const std::uint32_t* word, int tiles, bool transposed, Site site);

// cp.async: `source_bytes` of 16 are read, the rest of the destination is zero.
void copy_async_16(std::uint32_t shared_destination, const void* source, int source_bytes);
void commit_copies();
void wait_for_copies(int pending_groups);

// mbarriers, by their shared addresses. `of_cluster`: the wait also sees what other blocks wrote.
void mbarrier_init(std::uint32_t barrier, int arrivals);
void fence_mbarrier_init();
void mbarrier_arrive(std::uint32_t barrier, Site site);
void mbarrier_arrive_expect(std::uint32_t barrier, int bytes, Site site);
void mbarrier_wait(std::uint32_t barrier, int parity, bool of_cluster, Site site);

// fence.proxy.async.shared::cta.
void fence_async_shared();

// The copy engine. A map is what tensor_map() of the emulator's build made.
void tensor_copy(std::uint32_t shared_destination, const TensorMap& map, int col, int row, std::uint32_t barrier,
                 Site site);
void copy_bulk(std::uint32_t shared_destination, const void* source, int bytes, std::uint32_t barrier, Site site);

// wgmma, as one of 128 threads calls it.
struct Wgmma {
    float* d;
    int n;
    const std::uint32_t* a_words;  // null: a lies in shared memory
    std::uint64_t a, b;            // descriptors
    bool a_mn_major, b_mn_major;
    bool accumulate;
};
void wgmma(const Wgmma& wgmma, Site site);
void wgmma_fence(Site site);
void wgmma_commit(Site site);
void wgmma_wait(int pending_groups, Site site);
void set_registers(int count, Site site);

// Blocks of a cluster. A remote address also says whose it is.
int cluster_rank();
void cluster_arrive(Site site);
void cluster_wait(Site site);
std::uint32_t remote_address(std::uint32_t shared_address, int rank);
void load_remote(float* x, std::uint32_t remote, Site site);
void store_remote(std::uint32_t remote, const float* x, Site site);
void mbarrier_arrive_remote(std::uint32_t remote_barrier, Site site);

// griddepcontrol.wait: before it, a thread of a programmatic launch may not touch global memory.
void wait_for_previous_kernel();

// prmt.
std::uint32_t permute_bytes(std::uint32_t a, std::uint32_t b, std::uint32_t digits);

// Approximate instructions: the correctly rounded result, moved within the error that the PTX manual allows, so that no
// kernel relies on more.
float approximate_exp2(float x);
float approximate_log2(float x);
float approximate_reciprocal(float x);
float approximate_rsqrt(float x);

}  // namespace cloze::emulated
