// What a device computed, in a file. All numbers are little-endian and 32 bits wide:
//
//   "clozeins"              8 bytes
//   version                 1
//   text                    the device: how many characters, then these
//   compute capability      90
//   count                   recordings, and for each of them
//       text                the name of the instruction
//       hash of its inputs  so that a file of other inputs is noticed
//       words               how many, then the words
//
// Words are one hash a case for exact instructions and all outputs for the others (tests/instructions/instructions.h).
// Tested by tests/instructions/instructions_test.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/instructions/instructions.h"

namespace cloze::instructions {

struct Recording {
    std::string name;
    std::uint32_t inputs_hash;
    std::vector<std::uint32_t> words;
};

struct Recordings {
    std::string device;
    int compute_capability;
    std::vector<Recording> recordings;
};

std::uint32_t hash_of_words(const std::uint32_t* words, std::size_t count);
std::uint32_t hash_of_text(const std::string& text);

/// Runs `instruction` on the device of this build.
Recording record(const Instruction& instruction);

/// Everything that the device of this build has.
Recordings record_all();

void write_recordings(const std::filesystem::path& file, const Recordings& recordings);
/// Throws Fault::input, naming the file, where it is not whole.
Recordings read_recordings(const std::filesystem::path& file);

}  // namespace cloze::instructions
