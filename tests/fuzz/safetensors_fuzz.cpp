// Any bytes as a safetensors file: tensors that tile the data exactly, or one line of complaint. An odd first byte
// stands for a file whose header length is right: the fuzzer cannot guess it while it changes the header.
#include <cstdlib>

#include "engine/files/safetensors.h"

namespace {

void demand(bool law) {
    if (!law) std::abort();
}

std::vector<std::byte> file_of(std::span<const std::byte> input) {
    if (input.empty() || (static_cast<unsigned>(input[0]) & 1) == 0) return {input.begin(), input.end()};
    input = input.subspan(1);
    const std::string_view text(reinterpret_cast<const char*>(input.data()), input.size());
    const std::size_t end = text.rfind('}');
    const std::uint64_t header = end == std::string_view::npos ? input.size() : end + 1;
    std::vector<std::byte> file(8);
    std::memcpy(file.data(), &header, 8);
    file.insert(file.end(), input.begin(), input.end());
    return file;
}

void read_all(const cloze::SafetensorsReader& reader) {
    const std::byte* covered = nullptr;
    for (const cloze::StoredTensor& tensor : reader.tensors()) {
        demand(reader.find(tensor.name) == &tensor);
        const auto bytes = reader.bytes(tensor);
        demand(covered == nullptr || bytes.data() == covered);
        covered = bytes.data() + bytes.size();
        unsigned sum = 0;
        for (const std::byte byte : bytes) sum += static_cast<unsigned>(byte);
        demand(sum <= 255 * bytes.size());
        std::vector<float> values(static_cast<std::size_t>(tensor.count()));
        try {
            reader.copy_as_f32(tensor, values);
        } catch (const cloze::Error& error) {
            demand(error.fault() == cloze::Fault::input);
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::vector<std::byte> file = file_of(std::as_bytes(std::span(data, size)));
    try {
        read_all(cloze::SafetensorsReader(file, "fuzz.safetensors"));
    } catch (const cloze::Error& error) {
        demand(error.fault() == cloze::Fault::input);
        demand(std::string_view(error.what()).starts_with("fuzz.safetensors"));
    }
    return 0;
}
