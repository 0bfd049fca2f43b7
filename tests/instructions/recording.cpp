#include "tests/instructions/recording.h"

#include <fstream>
#include <sstream>
#include <string_view>

#include "kernels/core/device_info.h"
#include "kernels/core/error.h"

namespace cloze::instructions {

namespace {

constexpr std::string_view kMagic = "clozeins";
constexpr std::uint32_t kVersion = 1;

void append(std::string& bytes, std::uint32_t word) {
    for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<char>(word >> shift & 0xffu));
}
void append(std::string& bytes, const std::string& text) {
    append(bytes, static_cast<std::uint32_t>(text.size()));
    bytes += text;
}

/// Takes numbers and texts off the front of a file's bytes.
class Reader {
public:
    Reader(const std::string& file, std::string_view bytes) : file_(file), bytes_(bytes) {}

    std::string_view characters(std::size_t count) {
        if (count > bytes_.size() - at_) refuse("ends too early");
        at_ += count;
        return bytes_.substr(at_ - count, count);
    }
    std::uint32_t word() {
        std::uint32_t value = 0;
        int shift = 0;
        for (const char c : characters(4)) {
            value |= static_cast<std::uint32_t>(static_cast<unsigned char>(c)) << shift;
            shift += 8;
        }
        return value;
    }
    std::string text() { return std::string(characters(word())); }
    std::vector<std::uint32_t> words() {
        const std::size_t count = word();
        if (count > (bytes_.size() - at_) / 4) refuse("ends too early");
        std::vector<std::uint32_t> values(count);
        for (std::uint32_t& value : values) value = word();
        return values;
    }
    void end() const {
        if (at_ != bytes_.size()) refuse("has bytes after its end");
    }
    [[noreturn]] void refuse(const char* why) const {
        fail(Fault::input, file_, " ", why, ": record it again (bash tests/gpu.sh)");
    }

private:
    std::string file_;
    std::string_view bytes_;
    std::size_t at_ = 0;
};

}  // namespace

std::uint32_t hash_of_words(const std::uint32_t* words, std::size_t count) {
    std::uint32_t hash = static_cast<std::uint32_t>(count);
    for (std::size_t i = 0; i < count; ++i) {
        hash = (hash ^ words[i]) * 0x9E3779B1u;
        hash ^= hash >> 15;
    }
    return hash;
}

std::uint32_t hash_of_text(const std::string& text) {
    const std::vector<std::uint32_t> words(text.begin(), text.end());
    return hash_of_words(words.data(), words.size());
}

Recording record(const Instruction& instruction) {
    const std::vector<std::uint32_t> inputs = inputs_of(instruction);
    const std::vector<std::uint32_t> outputs = run(instruction, inputs);
    Recording recording{instruction.name, hash_of_words(inputs.data(), inputs.size()), {}};
    if (instruction.outputs == Outputs::exact) {
        const auto words = static_cast<std::size_t>(instruction.output_words);
        for (std::size_t at = 0; at < outputs.size(); at += words) {
            recording.words.push_back(hash_of_words(outputs.data() + at, words));
        }
    } else {
        recording.words = outputs;
    }
    return recording;
}

Recordings record_all() {
    const DeviceInfo device = use_device(0);
    Recordings all{device.name, device.compute_capability, {}};
    for (const Instruction& instruction : every_instruction()) {
        if (instruction.is_on(all.compute_capability)) all.recordings.push_back(record(instruction));
    }
    return all;
}

void write_recordings(const std::filesystem::path& file, const Recordings& recordings) {
    std::string bytes(kMagic);
    append(bytes, kVersion);
    append(bytes, recordings.device);
    append(bytes, static_cast<std::uint32_t>(recordings.compute_capability));
    append(bytes, static_cast<std::uint32_t>(recordings.recordings.size()));
    for (const Recording& recording : recordings.recordings) {
        append(bytes, recording.name);
        append(bytes, recording.inputs_hash);
        append(bytes, static_cast<std::uint32_t>(recording.words.size()));
        for (const std::uint32_t word : recording.words) append(bytes, word);
    }
    std::ofstream out(file, std::ios::binary);
    out << bytes << std::flush;
    if (!out) fail(Fault::io, "cannot write ", file.string());
}

Recordings read_recordings(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    if (!in) fail(Fault::io, "cannot read ", file.string());
    std::ostringstream contents;
    contents << in.rdbuf();
    const std::string bytes = contents.str();
    Reader reader(file.string(), bytes);
    if (reader.characters(kMagic.size()) != kMagic) reader.refuse("is no recording");
    if (reader.word() != kVersion) reader.refuse("has another version");
    Recordings all{reader.text(), static_cast<int>(reader.word()), {}};
    for (std::uint32_t left = reader.word(); left > 0; --left) {
        Recording recording;
        recording.name = reader.text();
        recording.inputs_hash = reader.word();
        recording.words = reader.words();
        all.recordings.push_back(std::move(recording));
    }
    reader.end();
    return all;
}

}  // namespace cloze::instructions
