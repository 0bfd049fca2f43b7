#include "tests/emulator/code_place.h"

#include <array>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string_view>
#include <unistd.h>

#include "kernels/core/error.h"

// By the linker: code and constants lie between the two, variables after.
extern "C" char __executable_start;
extern "C" char __init_array_start;

namespace cloze::emulated {

std::uint32_t code_offset(const void* return_address) {
    // One byte back: still inside the call, whose line is wanted.
    return static_cast<std::uint32_t>(static_cast<const char*>(return_address) - &__executable_start - 1);
}

std::string code_place(std::uint32_t offset) {
    std::array<char, 512> line = {};
    const std::string command = text("addr2line -i -e /proc/", getpid(), "/exe 0x", std::hex, offset, " 2>/dev/null");
    std::string place = text("code offset ", offset);
    const std::unique_ptr<FILE, int (*)(FILE*)> output(popen(command.c_str(), "r"), pclose);
    // Innermost first: the vocabulary, then who called it. The first line outside kernels/device is wanted.
    while (output && std::fgets(line.data(), line.size(), output.get()) != nullptr) {
        std::string found = line.data();
        found = found.substr(0, found.find_first_of(" \n"));
        if (found.find("??") != std::string::npos) break;
        place = std::filesystem::path(found).lexically_normal().string();
        if (found.find("kernels/device/") == std::string::npos) break;
    }
    const std::string_view root = CLOZE_SOURCE_ROOT;
    return place.compare(0, root.size(), root) == 0 ? place.substr(root.size()) : place;
}

bool is_static_data(const void* address) {
    return address >= &__executable_start && address < &__init_array_start;
}

}  // namespace cloze::emulated
