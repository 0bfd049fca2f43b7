// Bytes of a shard that a test may change and sign again, so that damage reaches the checks behind the checksums.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <string_view>

#include "engine/data/shard.h"
#include "engine/files/checksum.h"

namespace cloze::test {

/// File bytes at an address that a mapping could have, and not one byte more: a sanitizer sees a read beyond them.
class AlignedBytes {
public:
    explicit AlignedBytes(std::string_view contents)
        : size_(contents.size()), data_(new (kAlignment) std::byte[contents.size()]) {
        std::copy(contents.begin(), contents.end(), reinterpret_cast<char*>(data_.get()));
    }
    std::span<std::byte> bytes() { return {data_.get(), size_}; }
    template <typename T>
    T& at(std::size_t offset) {
        return *reinterpret_cast<T*>(data_.get() + offset);
    }
    ShardTable& table() { return at<ShardTable>(size_ - sizeof(ShardTable)); }
    /// Makes every checksum fit what is there now, as far as the sections lie in the file.
    void sign() {
        for (ShardTable::Section& section : table().sections) {
            if (section.offset <= size_ && section.bytes <= size_ - section.offset) {
                section.checksum = xxh3(bytes().subspan(section.offset, section.bytes));
            }
        }
        table().preamble_checksum = xxh3(bytes().first(sizeof(ShardPreamble)));
        table().checksum = xxh3(bytes().last(sizeof(ShardTable)).first(offsetof(ShardTable, checksum)));
    }

private:
    static constexpr std::align_val_t kAlignment{64};
    struct Delete {
        void operator()(std::byte* bytes) const { ::operator delete[](bytes, kAlignment); }
    };

    std::size_t size_;
    std::unique_ptr<std::byte[], Delete> data_;
};

}  // namespace cloze::test
