// What tests/differential/safetensors_files.py drives. A command in, a line of JSON out:
//   list FILE          the file as the reader sees it: metadata, tensors with their bytes and their f32 values in hex
//   rewrite FILE COPY  reads FILE and writes its tensors to COPY
// A refused file gives {"error": message}.
#include <iostream>
#include <sstream>
#include <string>

#include "engine/files/json.h"
#include "engine/files/safetensors.h"

namespace {

using namespace cloze;

std::string hex(std::span<const std::byte> bytes) {
    std::string digits;
    for (const std::byte byte : bytes) {
        digits += "0123456789abcdef"[static_cast<unsigned>(byte) >> 4];
        digits += "0123456789abcdef"[static_cast<unsigned>(byte) & 15];
    }
    return digits;
}

Json list(const std::string& path) {
    const SafetensorsReader reader(path);
    Json tensors = Json::object();
    for (const StoredTensor& tensor : reader.tensors()) {
        Json& entry = tensors[tensor.name] = {
            {"dtype", name_of(tensor.type)}, {"shape", tensor.shape}, {"bytes", hex(reader.bytes(tensor))}};
        const bool is_float = tensor.type == StoredType::F64 || tensor.type == StoredType::F32 ||
                              tensor.type == StoredType::F16 || tensor.type == StoredType::BF16;
        if (!is_float) continue;
        std::vector<float> values(static_cast<std::size_t>(tensor.count()));
        reader.copy_as_f32(tensor, values);
        entry["f32"] = hex(std::as_bytes(std::span(values)));
    }
    return {{"metadata", reader.metadata()}, {"tensors", tensors}};
}

Json rewrite(const std::string& path, const std::string& copy) {
    const SafetensorsReader reader(path);
    std::vector<TensorToStore> tensors;
    for (const StoredTensor& tensor : reader.tensors()) {
        tensors.push_back({tensor.name, tensor.type, tensor.shape, reader.bytes(tensor), nullptr});
    }
    OutputFile file(copy);
    write_safetensors(file, tensors, reader.metadata());
    return {{"bytes", file.finish().bytes}};
}

Json answer(const std::string& line) {
    std::istringstream words(line);
    std::string command, path, copy;
    words >> command >> path >> copy;
    try {
        if (command == "list") return list(path);
        if (command == "rewrite") return rewrite(path, copy);
        return {{"error", "unknown command " + command}};
    } catch (const Error& error) {
        return {{"error", error.what()}};
    }
}

}  // namespace

int main() {
    for (std::string line; std::getline(std::cin, line);) std::cout << answer(line).dump() << std::endl;
}
