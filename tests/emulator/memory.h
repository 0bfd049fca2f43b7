// The memory that kernels see: buffers of the device in an arena of their own, the block's shared memory, their own
// stacks, the launch's arguments and constants. Everything else is refused, so is a byte outside of a buffer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tests/emulator/races.h"

namespace cloze::emulated {

inline constexpr int kMostSharedBytes = 227 * 1024;  // of a block on compute capability 9.0
inline constexpr int kMostClusterBlocks = 8;
inline constexpr std::int64_t kDeviceBytes = 16ll << 30;

// Buffers, for the host.
void* allocate_device(std::int64_t bytes);
void release_device(void* address) noexcept;
std::int64_t free_device_bytes();
/// Throws unless the bytes lie inside of one buffer.
void require_device_range(const void* address, std::int64_t bytes);

// For a launch, and each of its blocks.
void start_launch(const void* arguments, std::size_t bytes);
/// Filled with what no kernel wants: NaN, or huge values under some schedules, so that what nobody wrote shows.
void start_shared_memory(int bytes, int rank);

// Shared addresses: an offset in the block's memory, and of which block of the cluster it is: 0 for that of the running
// thread, else its rank + 1 above.
/// The pointer; not checked.
unsigned char* at_shared_address(std::uint32_t address);
int rank_of(std::uint32_t address);
std::int64_t shared_offset(std::uint32_t address);
/// The same address for any block of the cluster.
std::uint32_t cluster_address(std::uint32_t address);
std::uint32_t cluster_address(std::uint32_t address, int rank);

/// Memory that several threads can see; empty history: nobody else can, or races are not looked for.
struct Located {
    const char* what;     // "shared memory", "buffer of 4096 bytes"
    std::int64_t offset;  // in it
    bool shared;
    std::span<ByteHistory> history;
};

/// Faults unless the running thread may make this access at all.
Located locate(const void* address, std::int64_t bytes, AccessKind kind, const void* return_address);

/// An access of the running thread, judged in full: bounds, alignment, races, and counted.
void touch(const void* address, std::int64_t bytes, int alignment, AccessKind kind, const void* return_address);

}  // namespace cloze::emulated
