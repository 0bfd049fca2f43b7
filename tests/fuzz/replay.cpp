// Stands in for libFuzzer in an ordinary build: runs a target over the files of a folder, each whole, cut at every
// length up to 4 KiB, and with every byte of that part changed once.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

/// The bytes in memory of exactly their size, so that a sanitizer sees a step beyond it.
void run_one(const std::string& bytes) {
    const auto copy = std::make_unique<std::uint8_t[]>(bytes.size());
    std::copy(bytes.begin(), bytes.end(), copy.get());
    LLVMFuzzerTestOneInput(copy.get(), bytes.size());
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 2) {
        std::fprintf(stderr, "usage: %s FOLDER\n", arguments[0]);
        return 2;
    }
    long runs = 0;
    for (const auto& entry : std::filesystem::directory_iterator(arguments[1])) {
        std::ifstream file(entry.path(), std::ios::binary);
        const std::string bytes{std::istreambuf_iterator<char>(file), {}};
        run_one(bytes);
        const std::size_t part = std::min<std::size_t>(bytes.size(), 4096);
        for (std::size_t i = 0; i < part; ++i) {
            run_one(bytes.substr(0, i));
            std::string changed = bytes;
            changed[i] = static_cast<char>(changed[i] ^ (1 << i % 8));
            run_one(changed);
        }
        runs += 1 + 2 * static_cast<long>(part);
    }
    std::printf("%ld inputs\n", runs);
    return runs == 0;
}
