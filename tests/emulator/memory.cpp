#include "tests/emulator/memory.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <sys/mman.h>

#include "kernels/device/emulated.h"
#include "tests/emulator/access_counts.h"
#include "tests/emulator/block.h"
#include "tests/emulator/code_place.h"
#include "tests/emulator/emulator.h"

namespace cloze::emulated {

namespace {

constexpr std::int64_t kAlignment = 256;
constexpr std::int64_t kGap = 256;  // between buffers, belongs to nobody
constexpr std::uint32_t kSharedStart = 1024;

/// Address space without memory behind it until it is touched.
void* reserve(std::int64_t bytes) {
    void* space = mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (space == MAP_FAILED) fail(Fault::internal, "emulator: no address space for ", bytes, " bytes");
    return space;
}

struct DeviceMemory {
    char* start = static_cast<char*>(reserve(kDeviceBytes));
    ByteHistory* history =
        static_cast<ByteHistory*>(reserve(kDeviceBytes * static_cast<std::int64_t>(sizeof(ByteHistory))));
    std::map<std::int64_t, std::int64_t> buffers;   // offset -> bytes
    std::int64_t last_offset = 0, last_bytes = -1;  // the buffer found last
};

DeviceMemory& device_memory() {
    static DeviceMemory memory;
    return memory;
}

constexpr std::int64_t kSharedStride = 256 * 1024;  // from block to block of a cluster
constexpr std::int64_t kAllSharedBytes = kMostClusterBlocks * kSharedStride;
constexpr int kRankShift = 20;
unsigned char* const shared_memory = static_cast<unsigned char*>(reserve(kAllSharedBytes));
ByteHistory* const shared_history =
    static_cast<ByteHistory*>(reserve(kAllSharedBytes * static_cast<std::int64_t>(sizeof(ByteHistory))));
int shared_bytes = 0;

const char* launch_arguments = nullptr;
std::size_t launch_arguments_bytes = 0;

std::int64_t round_up(std::int64_t value, std::int64_t to) {
    return (value + to - 1) / to * to;
}

/// The buffer that holds `offset` or lies before it; finds nothing before the first.
bool find_buffer(DeviceMemory& memory, std::int64_t offset) {
    if (offset >= memory.last_offset && offset < memory.last_offset + memory.last_bytes) return true;
    auto after = memory.buffers.upper_bound(offset);
    if (after == memory.buffers.begin()) return false;
    --after;
    memory.last_offset = after->first;
    memory.last_bytes = after->second;
    return true;
}

bool is_inside(const void* address, const void* start, std::int64_t bytes) {
    return address >= start && address < static_cast<const char*>(start) + bytes;
}

}  // namespace

void* allocate_device(std::int64_t bytes) {
    DeviceMemory& memory = device_memory();
    std::int64_t offset = kGap;
    for (const auto& [start, size] : memory.buffers) {
        if (offset + bytes + kGap <= start) break;
        offset = round_up(start + size + kGap, kAlignment);
    }
    if (offset + bytes + kGap > kDeviceBytes) {
        fail(Fault::device, "out of device memory: ", bytes, " bytes asked for, the emulated device has ",
             kDeviceBytes);
    }
    memory.buffers.emplace(offset, bytes);
    std::memset(memory.start + offset, 0xff, static_cast<std::size_t>(bytes));
    return memory.start + offset;
}

void release_device(void* address) noexcept {
    DeviceMemory& memory = device_memory();
    const std::int64_t offset = static_cast<char*>(address) - memory.start;
    memory.buffers.erase(offset);
    memory.last_bytes = -1;
}

std::int64_t free_device_bytes() {
    std::int64_t used = 0;
    for (const auto& [start, size] : device_memory().buffers) used += size;
    return kDeviceBytes - used;
}

void require_device_range(const void* address, std::int64_t bytes) {
    DeviceMemory& memory = device_memory();
    const std::int64_t offset = static_cast<const char*>(address) - memory.start;
    const bool inside = is_inside(address, memory.start, kDeviceBytes) && find_buffer(memory, offset) &&
                        offset + bytes <= memory.last_offset + memory.last_bytes;
    if (!inside)
        fail(Fault::device, "copy of ", bytes, " bytes: the device address lies in no buffer, or the end past it");
}

void start_launch(const void* arguments, std::size_t bytes) {
    launch_arguments = static_cast<const char*>(arguments);
    launch_arguments_bytes = bytes;
    begin_launch_of_races();
}

void start_shared_memory(int bytes, int rank) {
    shared_bytes = bytes;
    const std::int64_t start = rank * kSharedStride;
    // As f32 and bf16: NaN, which arithmetic cannot hide; 3e38, which a maximum cannot; -1e38, which a minimum cannot.
    constexpr int kUnwritten[] = {0xff, 0x7f, 0xfe};
    std::memset(shared_memory + start, kUnwritten[settings().seed % 3], static_cast<std::size_t>(bytes));
    if (settings().find_races) std::fill_n(shared_history + start, bytes, ByteHistory{});
}

unsigned char* shared_arena() {
    return shared_memory + current_thread()->rank * kSharedStride;
}

std::uint32_t shared_address(const void* pointer) {
    const Emulating emulating;
    const unsigned char* own = shared_arena();
    if (!is_inside(pointer, own, kMostSharedBytes)) fault("shared_address of a pointer that is not to shared memory");
    return static_cast<std::uint32_t>(static_cast<const unsigned char*>(pointer) - own) + kSharedStart;
}

int rank_of(std::uint32_t address) {
    const int above = static_cast<int>(address >> kRankShift);
    return above == 0 ? current_thread()->rank : above - 1;
}

std::int64_t shared_offset(std::uint32_t address) {
    return static_cast<std::int64_t>(address & ((1u << kRankShift) - 1)) - kSharedStart;
}

unsigned char* at_shared_address(std::uint32_t address) {
    return shared_memory + rank_of(address) * kSharedStride + shared_offset(address);
}

std::uint32_t cluster_address(std::uint32_t address, int rank) {
    return (address & ((1u << kRankShift) - 1)) | static_cast<std::uint32_t>(rank + 1) << kRankShift;
}
std::uint32_t cluster_address(std::uint32_t address) {
    return cluster_address(address, rank_of(address));
}

namespace {

[[noreturn]] void refuse(const char* did, std::int64_t bytes, const char* where, std::int64_t offset, std::int64_t size,
                         const void* return_address) {
    std::string message = text(did, " ", bytes, " bytes at byte ", offset, " of ", where, ", which has ", size,
                               " bytes, at ", code_place(code_offset(return_address)), ", in ", *current_thread());
    end_launch(std::move(message));
}

[[noreturn]] void refuse_early(const char* did, const void* return_address) {
    std::string message = text(did, " a device buffer before it has waited for the kernel before, at ",
                               code_place(code_offset(return_address)), ", in ", *current_thread());
    end_launch(std::move(message));
}

const char* name_of(AccessKind kind) {
    return kind == AccessKind::read ? "reads" : "writes";
}

bool is_private(const void* address, AccessKind kind) {
    const Stack& stack = current_thread()->stack;
    if (is_inside(address, stack.low, static_cast<std::int64_t>(stack.bytes))) return true;
    return kind == AccessKind::read &&
           (is_inside(address, launch_arguments, static_cast<std::int64_t>(launch_arguments_bytes)) ||
            is_static_data(address));
}

}  // namespace

Located locate(const void* address, std::int64_t bytes, AccessKind kind, const void* return_address) {
    DeviceMemory& memory = device_memory();
    if (is_inside(address, shared_memory, kAllSharedBytes)) {
        const std::int64_t place = static_cast<const unsigned char*>(address) - shared_memory;
        const std::int64_t offset = place % kSharedStride;
        const Thread& thread = *current_thread();
        const char* what = place / kSharedStride == thread.rank ? "shared memory" : "shared memory of another block";
        if (offset + bytes > shared_bytes || (place / kSharedStride != thread.rank && !thread.reaches_remote))
            refuse(name_of(kind), bytes, what, offset, shared_bytes, return_address);
        if (!settings().find_races) return {what, offset, true, {}};
        return {what, offset, true, {shared_history + place, static_cast<std::size_t>(bytes)}};
    }
    if (is_inside(address, memory.start, kDeviceBytes)) {
        const std::int64_t offset = static_cast<const char*>(address) - memory.start;
        const bool found = find_buffer(memory, offset);
        const std::int64_t inside = offset - memory.last_offset;
        if (!found || inside + bytes > memory.last_bytes) {
            refuse(name_of(kind), bytes, "a device buffer", inside, found ? memory.last_bytes : 0, return_address);
        }
        if (!current_thread()->may_touch_global) refuse_early(name_of(kind), return_address);
        if (!settings().find_races) return {"a device buffer", inside, false, {}};
        return {"a device buffer", inside, false, {memory.history + offset, static_cast<std::size_t>(bytes)}};
    }
    if (!is_private(address, kind)) {
        std::string message =
            text(name_of(kind), " ", bytes, " bytes of host memory, or of another thread's stack, at ",
                 code_place(code_offset(return_address)), ", in ", *current_thread());
        end_launch(std::move(message));
    }
    return {"private memory", 0, false, {}};
}

void touch(const void* address, std::int64_t bytes, int alignment, AccessKind kind, const void* return_address) {
    const Emulating emulating;
    const Located located = locate(address, bytes, kind, return_address);
    if (reinterpret_cast<std::uintptr_t>(address) % static_cast<std::uintptr_t>(alignment) != 0) {
        std::string message = text(name_of(kind), " ", bytes, " bytes at byte ", located.offset, " of ", located.what,
                                   ", which is not aligned to ", alignment, ", at ",
                                   code_place(code_offset(return_address)), ", in ", *current_thread());
        end_launch(std::move(message));
    }
    const std::uint32_t code = code_offset(return_address);
    if (!located.history.empty()) {
        const Stamp stamp = current_cluster()->clocks.stamp_of_thread(current_thread()->slot, code);
        check_race({located.history, kind, stamp, located.what, located.offset});
    }
    if (settings().count_accesses) count_access(located, bytes, code, address);
}

void load(void* to, const void* from, int bytes) {
    const Emulating emulating;
    maybe_switch();
    touch(from, bytes, bytes, AccessKind::read, __builtin_return_address(0));
    std::memcpy(to, from, static_cast<std::size_t>(bytes));
}

void store(void* to, const void* from, int bytes) {
    const Emulating emulating;
    maybe_switch();
    touch(to, bytes, bytes, AccessKind::write, __builtin_return_address(0));
    std::memcpy(to, from, static_cast<std::size_t>(bytes));
}

}  // namespace cloze::emulated
