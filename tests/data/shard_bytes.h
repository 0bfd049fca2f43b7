// Bytes of a shard that a test may change and sign again, so that damage reaches the checks behind the checksums.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "engine/data/shard.h"
#include "engine/files/checksum.h"

namespace cloze::test {

/// File bytes at an address that a mapping could have.
class AlignedBytes {
public:
    explicit AlignedBytes(std::string_view contents) : size_(contents.size()), storage_(contents.size() + 64) {
        const auto address = reinterpret_cast<std::uintptr_t>(storage_.data());
        data_ = storage_.data() + (64 - address % 64) % 64;
        std::copy(contents.begin(), contents.end(), reinterpret_cast<char*>(data_));
    }
    std::span<std::byte> bytes() { return {data_, size_}; }
    template <typename T>
    T& at(std::size_t offset) {
        return *reinterpret_cast<T*>(data_ + offset);
    }
    ShardTable& table() { return at<ShardTable>(size_ - sizeof(ShardTable)); }
    /// Makes every checksum fit what is there now, as far as the sections lie in the file.
    void sign() {
        for (ShardTable::Section& section : table().sections) {
            if (section.offset <= size_ && section.bytes <= size_ - section.offset) {
                section.checksum = xxh3(std::span<const std::byte>(data_ + section.offset, section.bytes));
            }
        }
        table().preamble_checksum = xxh3(std::span<const std::byte>(data_, sizeof(ShardPreamble)));
        table().checksum = xxh3(
            std::span<const std::byte>(reinterpret_cast<const std::byte*>(&table()), offsetof(ShardTable, checksum)));
    }

private:
    std::size_t size_;
    std::vector<std::byte> storage_;
    std::byte* data_;
};

}  // namespace cloze::test
