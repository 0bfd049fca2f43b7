#include "tests/emulator/tensor_copies.h"

#include <algorithm>
#include <cstring>

#include "kernels/core/tensor_map.h"
#include "kernels/device/emulated.h"
#include "tests/emulator/block.h"
#include "tests/emulator/code_place.h"
#include "tests/emulator/memory.h"

namespace cloze::emulated {

namespace {

using device_calls::BoxedMatrix;

constexpr std::uint64_t kMapMark = 0x434c4f5a454d4150u;

/// What a TensorMap of this build holds.
struct EncodedMap {
    std::uint64_t mark;
    BoxedMatrix matrix;
};
static_assert(sizeof(EncodedMap) <= sizeof(TensorMap));

const BoxedMatrix& matrix_of(const TensorMap& map, const char* operation, Site site) {
    const auto& encoded = *reinterpret_cast<const EncodedMap*>(map.bytes);
    if (encoded.mark != kMapMark) fault(operation, " at ", site, ": its map is none that tensor_map() has made");
    return encoded.matrix;
}

int row_bytes(const BoxedMatrix& matrix) {
    return 2 * matrix.box_cols;
}
int box_bytes(const BoxedMatrix& matrix) {
    return matrix.box_rows * row_bytes(matrix);
}

/// Columns [first, end) of a box at `col` that lie in the matrix, counted in the box; and the row that does.
struct Inside {
    int first, end;
};
Inside columns_inside(const BoxedMatrix& matrix, int col) {
    const std::int64_t first = std::clamp<std::int64_t>(-static_cast<std::int64_t>(col), 0, matrix.box_cols);
    const std::int64_t end = std::clamp<std::int64_t>(matrix.cols - col, first, matrix.box_cols);
    return {static_cast<int>(first), static_cast<int>(end)};
}
bool is_row_inside(const BoxedMatrix& matrix, int row) {
    return row >= 0 && row < matrix.rows;
}
unsigned char* in_matrix(const BoxedMatrix& matrix, int col, int row) {
    return static_cast<unsigned char*>(matrix.address) + row * matrix.stride_bytes + 2 * static_cast<std::int64_t>(col);
}

/// The same place of shared memory, swizzled: bits 4 to 6 xor bits 7 to 9, or two of them for rows of 64 bytes.
std::uint32_t swizzled(std::uint32_t address, int row_bytes) {
    return address ^ ((address >> 7 & (row_bytes == 128 ? 7u : 3u)) << 4);
}

/// Each chunk of 16 bytes of a box: its place in shared memory, its first column and row in the matrix.
template <typename Visit>
void for_chunks(const BoxedMatrix& matrix, int col, int row, std::uint32_t box, Visit visit) {
    constexpr int kChunkColumns = 8;
    for (int i = 0; i < matrix.box_rows; ++i) {
        for (int j = 0; j < matrix.box_cols; j += kChunkColumns) {
            const auto linear = box + static_cast<std::uint32_t>(i * row_bytes(matrix) + 2 * j);
            visit(at_shared_address(swizzled(linear, row_bytes(matrix))), col + j, row + i);
        }
    }
}

void land(const EngineCopy& copy) {
    if (copy.source != nullptr) {
        std::memcpy(at_shared_address(copy.destination), copy.source, static_cast<std::size_t>(copy.bytes));
    } else {
        for_chunks(copy.matrix, copy.col, copy.row, copy.destination, [&](unsigned char* to, int col, int row) {
            for (int j = 0; j < 8; ++j, to += 2) {
                const bool inside = is_row_inside(copy.matrix, row) && col + j >= 0 && col + j < copy.matrix.cols;
                inside ? std::memcpy(to, in_matrix(copy.matrix, col + j, row), 2) : std::memset(to, 0, 2);
            }
        });
    }
    land_bytes(current_cluster()->mbarriers[static_cast<std::size_t>(copy.mbarrier)], copy.bytes);
}

/// Bounds, races and fences of bytes that the engine reads or writes for the running thread.
void check(const void* address, std::int64_t bytes, AccessKind kind, const Knowledge& view, const Stamp& stamp,
           const void* from) {
    const Located located = locate(address, bytes, kind, from);
    if (located.history.empty()) return;
    check_asynchronous_race({.access = {located.history, kind, stamp, located.what, located.offset},
                             .view = view,
                             .fences_count = located.shared});
}

void check_rows(const BoxedMatrix& matrix, int col, int row, AccessKind kind, const Knowledge& view, const Stamp& stamp,
                const void* from) {
    const Inside inside = columns_inside(matrix, col);
    for (int i = 0; i < matrix.box_rows; ++i) {
        if (!is_row_inside(matrix, row + i) || inside.first == inside.end) continue;
        check(in_matrix(matrix, col + inside.first, row + i), 2 * (inside.end - inside.first), kind, view, stamp, from);
    }
}

/// A device takes other columns for an illegal instruction; what it makes of a box beside the matrix, nobody has seen.
void require_box(const BoxedMatrix& matrix, int col, int row, const char* operation, Site site) {
    constexpr int kColumns = 8;  // 16 bytes
    const Inside inside = columns_inside(matrix, col);
    if (col % kColumns != 0) {
        fault(operation, " at ", site, ": a box at column ", col, ", which is not aligned to 16 bytes");
    }
    if (inside.first == inside.end || row + matrix.box_rows <= 0 || row >= matrix.rows) {
        fault(operation, " at ", site, ": the box at row ", row, ", column ", col, " has no element of the matrix");
    }
}

void require_aligned(std::uint32_t address, int alignment, const char* operation, Site site) {
    if (shared_offset(address) % alignment != 0) {
        fault(operation, " at ", site, ": byte ", shared_offset(address), " of shared memory is not aligned to ",
              alignment);
    }
}

/// A swizzled tile starts where the pattern does.
int box_alignment(const BoxedMatrix& matrix) {
    return 8 * row_bytes(matrix);
}

Mbarrier& mbarrier_of_copy(std::uint32_t address, const char* operation, Site site, const void* from) {
    Mbarrier& barrier = mbarrier_at(address, operation, from);
    if (!barrier.fenced) {
        fault(operation, " at ", site, ": missing fence: fence_mbarrier_init() behind the start of ",
              MbarrierName{barrier});
    }
    return barrier;
}

void start(const EngineCopy& copy, Mbarrier& barrier, const void* from) {
    Cluster& cluster = *current_cluster();
    const Knowledge& view = cluster.clocks.view(current_thread()->slot);
    const Stamp stamp = {cluster.clocks.cluster(),
                         static_cast<std::uint32_t>(cluster.clocks.actor_of_mbarrier(barrier.index)), barrier.phase + 1,
                         code_offset(from)};
    unsigned char* to = at_shared_address(copy.destination);
    check(to, copy.bytes, AccessKind::write, view, stamp, from);
    if (copy.source != nullptr) {
        check(copy.source, copy.bytes, AccessKind::read, view, stamp, from);
    } else {
        check_rows(copy.matrix, copy.col, copy.row, AccessKind::read, view, stamp, from);
    }
    barrier.copies_until = barrier.phase + 1;
    if (happens_at_once(cluster)) {
        land(copy);
        return;
    }
    std::memset(to, 0xff, static_cast<std::size_t>(copy.bytes));
    cluster.engine.copies.push_back(copy);
}

}  // namespace

int copies_under_way(int mbarrier) {
    const std::vector<EngineCopy>& copies = current_cluster()->engine.copies;
    return static_cast<int>(
        std::count_if(copies.begin(), copies.end(), [&](const EngineCopy& copy) { return copy.mbarrier == mbarrier; }));
}

bool land_one(Cluster& cluster) {
    std::vector<EngineCopy>& copies = cluster.engine.copies;
    if (copies.empty()) return false;
    const auto at = copies.begin() + random_below(cluster, static_cast<std::uint32_t>(copies.size()));
    const EngineCopy copy = *at;
    copies.erase(at);
    land(copy);
    return true;
}

void tensor_copy(std::uint32_t destination, const TensorMap& map, int col, int row, std::uint32_t address, Site site) {
    const Emulating emulating;
    maybe_switch();
    const void* from = __builtin_return_address(0);
    const BoxedMatrix& matrix = matrix_of(map, "tensor_copy", site);
    require_aligned(destination, box_alignment(matrix), "tensor_copy", site);
    require_box(matrix, col, row, "tensor_copy", site);
    Mbarrier& barrier = mbarrier_of_copy(address, "tensor_copy", site, from);
    start({.matrix = matrix,
           .col = col,
           .row = row,
           .source = nullptr,
           .bytes = box_bytes(matrix),
           .destination = cluster_address(destination),
           .mbarrier = barrier.index},
          barrier, from);
    maybe_switch();
}

void copy_bulk(std::uint32_t destination, const void* source, int bytes, std::uint32_t address, Site site) {
    const Emulating emulating;
    maybe_switch();
    const void* from = __builtin_return_address(0);
    constexpr int kUnit = 16;
    if (bytes <= 0 || bytes % kUnit != 0) fault("copy_bulk at ", site, " of ", bytes, " bytes, no multiple of 16");
    require_aligned(destination, kUnit, "copy_bulk", site);
    if (reinterpret_cast<std::uintptr_t>(source) % kUnit != 0) {
        fault("copy_bulk at ", site, ": its source is not aligned to 16");
    }
    Mbarrier& barrier = mbarrier_of_copy(address, "copy_bulk", site, from);
    start({.matrix = {},
           .col = 0,
           .row = 0,
           .source = static_cast<const unsigned char*>(source),
           .bytes = bytes,
           .destination = cluster_address(destination),
           .mbarrier = barrier.index},
          barrier, from);
    maybe_switch();
}

}  // namespace cloze::emulated

namespace cloze::device_calls {

void encode_tensor_map(unsigned char* bytes, const BoxedMatrix& matrix, Where) {
    const emulated::EncodedMap encoded{emulated::kMapMark, matrix};
    emulated::require_device_range(matrix.address, (matrix.rows - 1) * matrix.stride_bytes + 2 * matrix.cols);
    std::memcpy(bytes, &encoded, sizeof encoded);
}

}  // namespace cloze::device_calls
