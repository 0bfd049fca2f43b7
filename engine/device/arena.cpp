#include "engine/device/arena.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iomanip>
#include <sstream>
#include <sys/mman.h>
#include <unistd.h>

#include "kernels/core/integer.h"

namespace cloze {
namespace {

constexpr std::int64_t kHugePage = 2 << 20;

std::int64_t machine_bytes() {
    return static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
}

/// Bytes of a request, refusing what no size can be.
std::int64_t bytes_of(const std::string& owner, const std::string& name, DType dtype, std::int64_t rows,
                      std::int64_t cols) {
    std::int64_t elements = 0;
    const bool fits =
        rows >= 0 && cols >= 0 && !__builtin_mul_overflow(rows, cols, &elements) && elements < (std::int64_t{1} << 58);
    if (!fits) fail(Fault::internal, owner, ": ", name, " of [", rows, ", ", cols, "] is not a possible size");
    return round_up(elements * size_of(dtype), kArenaAlignment);
}

/// Device memory of that size. What the runtime says of a lack of it gets the arena's name and remedy.
DeviceBuffer device_block(std::int64_t bytes, const std::string& owner, const std::string& remedy) {
    try {
        return DeviceBuffer(bytes);
    } catch (const Error& error) {
        fail(error.fault(), owner, " needs ", describe_bytes(bytes), " of device memory: ", error.what(), "; ", remedy);
    }
}

std::string described(const Tensor& shape) {
    return text(name_of(shape.dtype), " [", shape.rows, ", ", shape.cols, "]");
}

}  // namespace

std::string describe_bytes(std::int64_t bytes) {
    static constexpr const char* units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes < 1024) return text(bytes, " bytes");
    double value = static_cast<double>(bytes) / 1024;
    std::size_t unit = 0;
    for (; value >= 1024 && unit + 1 < std::size(units); ++unit) value /= 1024;
    std::ostringstream out;
    out << std::fixed << std::setprecision(value < 10 ? 2 : 1) << value << ' ' << units[unit];
    return out.str();
}

HostBlock::HostBlock(std::int64_t bytes, const std::string& owner, const std::string& remedy) {
    // Huge pages spare the GEMMs most of their address translation. The system lends more than it has and ends the
    // process later, hence the check; zeroing touches every page, so that a run that starts has its memory.
    const std::int64_t alignment = bytes >= kHugePage ? kHugePage : kArenaAlignment;
    const std::int64_t size = round_up(std::max<std::int64_t>(bytes, 1), alignment);
    char* data = nullptr;
    if (bytes <= machine_bytes()) {
        data =
            static_cast<char*>(std::aligned_alloc(static_cast<std::size_t>(alignment), static_cast<std::size_t>(size)));
    }
    if (data == nullptr) {
        fail(Fault::io, owner, " needs ", describe_bytes(bytes), ", but this machine has ",
             describe_bytes(machine_bytes()), " of memory; ", remedy);
    }
    data_.reset(data);
    if (bytes >= kHugePage) madvise(data, static_cast<std::size_t>(size), MADV_HUGEPAGE);
    std::memset(data, 0, static_cast<std::size_t>(size));
}

void HostBlock::Free::operator()(char* data) const {
    std::free(data);
}

std::int64_t total_bytes(const std::vector<ArenaPart>& parts) {
    std::int64_t bytes = 0;
    for (const ArenaPart& part : parts) bytes += part.bytes;
    return bytes;
}

Arena::Arena(std::string name, std::string remedy, Place place)
    : name_(std::move(name)), remedy_(std::move(remedy)), place_(place) {}

Tensor Arena::tensor(const std::string& name, DType dtype, std::int64_t rows, std::int64_t cols) {
    if (!bound_) {
        const Tensor shape{nullptr, rows, cols, cols, dtype, place_};
        const std::int64_t bytes = bytes_of(name_, name, dtype, rows, cols);
        parts_.push_back({name, shape, bytes_, bytes});
        bytes_ += bytes;
        return shape;
    }
    if (next_ == parts_.size()) {
        fail(Fault::internal, name_, ": ", name, " was not measured before the arena was bound");
    }
    const ArenaPart& part = parts_[next_];
    const Tensor asked{part.shape.address, rows, cols, cols, dtype, place_};
    if (name != part.name || dtype != part.shape.dtype || rows != part.shape.rows || cols != part.shape.cols) {
        fail(Fault::internal, name_, ": asked for ", name, " ", described(asked), " where ", part.name, " ",
             described(part.shape), " was measured");
    }
    ++next_;
    return asked;
}

void Arena::bind() {
    next_ = 0;
    if (bound_) return;
    const auto largest = std::max_element(parts_.begin(), parts_.end(),
                                          [](const ArenaPart& a, const ArenaPart& b) { return a.bytes < b.bytes; });
    const std::string owner = largest == parts_.end()
                                  ? name_
                                  : text(name_, " (largest: ", largest->name, " ", described(largest->shape), ", ",
                                         describe_bytes(largest->bytes), ")");
    if (place_ == Place::host) {
        host_block_ = HostBlock(bytes_, owner, remedy_);
    } else {
        device_block_ = device_block(bytes_, owner, remedy_);
        clear({});
        wait(Stream{});
    }
    for (ArenaPart& part : parts_) part.shape.address = static_cast<char*>(base()) + part.offset;
    bound_ = true;
}

void* Arena::base() const {
    return place_ == Place::host ? host_block_.data() : device_block_.address();
}

void Arena::clear(Stream stream) {
    if (place_ == Place::host) {
        std::memset(base(), 0, static_cast<std::size_t>(bytes_));
    } else {
        fill_bytes(base(), 0, bytes_, stream);
    }
}

}  // namespace cloze
