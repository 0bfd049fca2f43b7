// safetensors files: 8 bytes of header length, a JSON header, the tensors' bytes (little-endian, row-major). The reader
// maps the file and trusts nothing in it; the writer streams. See docs/formats.md. Cost: reading touches the header and
// what is asked for; writing is one pass. Tested by tests/files/safetensors_test.cpp, tests/files/damage_test.cpp,
// tests/fuzz/safetensors_fuzz.cpp and, against the Python package, tests/differential/safetensors_files.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/files/mapped_file.h"
#include "engine/files/write.h"
#include "kernels/core/dtype.h"

namespace cloze {

class JsonObject;

/// Element types of the format, as the header spells them.
enum class StoredType : std::uint8_t {
    BOOL,
    U8,
    I8,
    F8_E5M2,
    F8_E4M3,
    F8_E8M0,
    I16,
    U16,
    F16,
    BF16,
    I32,
    U32,
    F32,
    F64,
    I64,
    U64
};
const char* name_of(StoredType type);
std::int64_t size_of(StoredType type);
/// The stored type of our element types.
StoredType stored_type(DType dtype);

/// One tensor of a file. Rank 0 (empty shape) is a scalar; a zero in the shape means no elements.
struct StoredTensor {
    std::string name;
    StoredType type;
    std::vector<std::int64_t> shape;
    std::int64_t begin, end;  // bytes, from the end of the header

    std::int64_t count() const { return (end - begin) / size_of(type); }
    std::string describe() const;  // "F32 [128, 768]"
};

/// A file opened for reading. Every entry has been checked: known type, size = product of the shape, inside the file;
/// together they cover the data without overlap or hole; no name or key twice. Failures are Fault::input naming file
/// and tensor.
class SafetensorsReader {
public:
    explicit SafetensorsReader(const std::filesystem::path& file);
    /// Over bytes that somebody else keeps; `name` stands for the file in messages.
    SafetensorsReader(std::span<const std::byte> bytes, std::string name);

    const std::string& name() const { return name_; }
    /// In the order of their data.
    const std::vector<StoredTensor>& tensors() const { return tensors_; }
    /// nullptr when there is none.
    const StoredTensor* find(std::string_view name) const;
    const StoredTensor& require(std::string_view name) const;
    /// "__metadata__"; empty when absent.
    const std::map<std::string, std::string>& metadata() const { return metadata_; }

    /// The stored bytes, at any alignment.
    std::span<const std::byte> bytes(const StoredTensor& tensor) const;

    /// Copies elements [first, first + values.size()); the stored type must be that of T.
    template <typename T>
    void copy(const StoredTensor& tensor, std::span<T> values, std::int64_t first = 0) const {
        require_type(tensor, stored_type(dtype_of<T>()));
        const auto from = element_bytes(tensor, first, static_cast<std::int64_t>(values.size()));
        if (!values.empty()) std::memcpy(values.data(), from.data(), from.size());
    }
    /// Copies elements as f32: from F32, F16, BF16 exactly, from F64 rounded. Other types are refused.
    void copy_as_f32(const StoredTensor& tensor, std::span<float> values, std::int64_t first = 0) const;

private:
    void parse(std::span<const std::byte> bytes);
    void add_entry(const std::string& tensor, const JsonObject& entry);
    void check_layout();
    void require_type(const StoredTensor& tensor, StoredType expected) const;
    std::span<const std::byte> element_bytes(const StoredTensor& tensor, std::int64_t first, std::int64_t count) const;

    MappedFile file_;
    std::string name_;
    std::span<const std::byte> data_;
    std::vector<StoredTensor> tensors_;
    std::unordered_map<std::string_view, std::size_t> by_name_;  // views of tensors_[i].name
    std::map<std::string, std::string> metadata_;
};

/// IEEE half precision to single: exact.
float f16_to_f32(std::uint16_t bits);

/// Takes the bytes of one tensor, piece by piece.
using ByteSink = std::function<void(std::span<const std::byte>)>;

/// One tensor to be written: its bytes, or a function that hands them over in pieces when their turn comes.
struct TensorToStore {
    std::string name;
    StoredType type;
    std::vector<std::int64_t> shape;
    std::span<const std::byte> data;
    std::function<void(const ByteSink&)> produce;  // used instead of `data` when set
};

/// A tensor of contiguous values.
template <typename T>
TensorToStore tensor_to_store(std::string name, std::vector<std::int64_t> shape, std::span<const T> values) {
    return {std::move(name), stored_type(dtype_of<T>()), std::move(shape), std::as_bytes(values), nullptr};
}

/// What transformers expects to find.
inline const std::map<std::string, std::string> kTorchMetadata = {{"format", "pt"}};

/// Writes header and tensors into `file`; the caller finishes it. Tensors of wide elements come first, so that every
/// tensor is aligned to its element; otherwise the order is as given. Throws Fault::usage for a name given twice, or
/// bytes that do not suit the shape.
void write_safetensors(OutputFile& file, const std::vector<TensorToStore>& tensors,
                       const std::map<std::string, std::string>& metadata = kTorchMetadata);

}  // namespace cloze
