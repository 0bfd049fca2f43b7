#include "engine/files/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <set>
#include <utility>

#include "engine/files/json.h"
#include "engine/files/reader.h"

namespace cloze {

namespace {

constexpr std::int64_t kMaximumHeaderBytes = 100'000'000;  // as the reference
constexpr std::int64_t kHeaderAlignment = 8;
constexpr std::string_view kMetadataKey = "__metadata__";
constexpr const char* kRemedy = "copy or export the file again";

struct TypeName {
    StoredType type;
    const char* name;
    std::int64_t bytes;
};
constexpr std::array<TypeName, 16> kTypes = {{
    {StoredType::BOOL, "BOOL", 1},
    {StoredType::U8, "U8", 1},
    {StoredType::I8, "I8", 1},
    {StoredType::F8_E5M2, "F8_E5M2", 1},
    {StoredType::F8_E4M3, "F8_E4M3", 1},
    {StoredType::F8_E8M0, "F8_E8M0", 1},
    {StoredType::I16, "I16", 2},
    {StoredType::U16, "U16", 2},
    {StoredType::F16, "F16", 2},
    {StoredType::BF16, "BF16", 2},
    {StoredType::I32, "I32", 4},
    {StoredType::U32, "U32", 4},
    {StoredType::F32, "F32", 4},
    {StoredType::F64, "F64", 8},
    {StoredType::I64, "I64", 8},
    {StoredType::U64, "U64", 8},
}};

const TypeName& entry_of(StoredType type) {
    return kTypes[static_cast<std::size_t>(type)];
}

std::optional<StoredType> type_named(std::string_view name) {
    for (const TypeName& entry : kTypes) {
        if (name == entry.name) return entry.type;
    }
    return std::nullopt;
}

/// Bytes of a tensor; nothing when they do not fit 63 bits or a dimension is negative.
std::optional<std::int64_t> bytes_of(StoredType type, const std::vector<std::int64_t>& shape) {
    std::int64_t bytes = size_of(type);
    for (const std::int64_t dimension : shape) {
        if (dimension < 0 || __builtin_mul_overflow(bytes, dimension, &bytes)) return std::nullopt;
    }
    return bytes;
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
    std::string result = "[";
    for (const std::int64_t dimension : shape) result += text(result.size() == 1 ? "" : ",", dimension);
    return result + "]";
}

}  // namespace

const char* name_of(StoredType type) {
    return entry_of(type).name;
}

std::int64_t size_of(StoredType type) {
    return entry_of(type).bytes;
}

StoredType stored_type(DType dtype) {
    switch (dtype) {
        case DType::f64: return StoredType::F64;
        case DType::f32: return StoredType::F32;
        case DType::bf16: return StoredType::BF16;
        case DType::u64: return StoredType::U64;
        case DType::i64: return StoredType::I64;
        case DType::u32: return StoredType::U32;
        case DType::i32: return StoredType::I32;
        case DType::u16: return StoredType::U16;
        case DType::u8: return StoredType::U8;
    }
    fail(Fault::internal, "stored_type: unknown element type");
}

std::string StoredTensor::describe() const {
    return text(name_of(type), " ", shape_text(shape));
}

SafetensorsReader::SafetensorsReader(const std::filesystem::path& file) : file_(file), name_(file.string()) {
    parse(file_.bytes());
}

SafetensorsReader::SafetensorsReader(std::span<const std::byte> bytes, std::string name) : name_(std::move(name)) {
    parse(bytes);
}

void SafetensorsReader::parse(std::span<const std::byte> bytes) {
    BoundedReader reader(name_, kRemedy, bytes);
    const auto header_bytes = reader.value<std::uint64_t>("the length of the safetensors header");
    reader.check(header_bytes <= static_cast<std::uint64_t>(kMaximumHeaderBytes), "a safetensors header of ",
                 header_bytes, " bytes is not possible; the file is damaged or something else");
    const std::string_view header = reader.text(static_cast<std::int64_t>(header_bytes), "the safetensors header");
    reader.check(header.starts_with('{'),
                 "the safetensors header does not start with '{'; the file is damaged or "
                 "something else");
    data_ = bytes.subspan(static_cast<std::size_t>(reader.position()));

    const std::string source = name_ + " header";
    const Json json = parse_json(header, source, {.bytes = kMaximumHeaderBytes, .depth = 4});
    const JsonObject entries(json, source);
    for (const auto& [key, value] : json.items()) {
        if (key == kMetadataKey) {
            const JsonObject object = entries.require_object(key);
            for (const std::string& name : object.keys()) metadata_[name] = object.require<std::string>(name);
        } else {
            add_entry(key, entries.require_object(key));
        }
    }
    check_layout();
}

void SafetensorsReader::add_entry(const std::string& tensor, const JsonObject& entry) {
    const std::string type_name = entry.require<std::string>("dtype");
    const auto type = type_named(type_name);
    if (!type) entry.refuse("dtype", "the element type " + type_name.substr(0, 40) + " is not supported");
    const auto shape = entry.require<std::vector<std::int64_t>>("shape");
    const auto bytes = bytes_of(*type, shape);
    if (!bytes) entry.refuse("shape", "the shape is not possible: " + shape_text(shape));
    const auto offsets = entry.require<std::vector<std::int64_t>>("data_offsets");
    if (offsets.size() != 2) entry.refuse("data_offsets", "expected [begin, end]");
    if (offsets[0] < 0 || offsets[1] < offsets[0] || offsets[1] > static_cast<std::int64_t>(data_.size())) {
        entry.refuse("data_offsets", text("[", offsets[0], ", ", offsets[1], "] does not lie within the ", data_.size(),
                                          " bytes of data in the file: it is truncated or damaged"));
    }
    if (offsets[1] - offsets[0] != *bytes) {
        entry.refuse("data_offsets", text("spans ", offsets[1] - offsets[0], " bytes, but ", type_name, " ",
                                          shape_text(shape), " has ", *bytes));
    }
    tensors_.push_back({tensor, *type, shape, offsets[0], offsets[1]});
}

/// The tensors cover the data one after another, without overlap or hole.
void SafetensorsReader::check_layout() {
    std::sort(tensors_.begin(), tensors_.end(), [](const StoredTensor& a, const StoredTensor& b) {
        return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
    });
    std::int64_t covered = 0;
    for (const StoredTensor& tensor : tensors_) {
        require_input(tensor.begin == covered, name_, ": tensor '", tensor.name, "' starts at byte ", tensor.begin,
                      " of the data, but those before it end at ", covered, "; the file is damaged: ", kRemedy);
        covered = tensor.end;
    }
    require_input(covered == static_cast<std::int64_t>(data_.size()), name_, ": has ", data_.size(),
                  " bytes of data, but its tensors cover ", covered, "; the file is damaged: ", kRemedy);
    for (std::size_t i = 0; i < tensors_.size(); ++i) by_name_.emplace(tensors_[i].name, i);
}

const StoredTensor* SafetensorsReader::find(std::string_view name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

const StoredTensor& SafetensorsReader::require(std::string_view name) const {
    const StoredTensor* tensor = find(name);
    require_input(tensor != nullptr, name_, ": has no tensor '", name, "'; is it a checkpoint of another model?");
    return *tensor;
}

std::span<const std::byte> SafetensorsReader::bytes(const StoredTensor& tensor) const {
    return data_.subspan(static_cast<std::size_t>(tensor.begin), static_cast<std::size_t>(tensor.end - tensor.begin));
}

std::span<const std::byte> SafetensorsReader::element_bytes(const StoredTensor& tensor, std::int64_t first,
                                                            std::int64_t count) const {
    const std::int64_t size = size_of(tensor.type);
    cloze::require(first >= 0 && count >= 0 && first <= tensor.count() && count <= tensor.count() - first, name_,
                   ": tensor '", tensor.name, "' ", tensor.describe(), " has no elements [", first, ", ", first, " + ",
                   count, ")");
    return bytes(tensor).subspan(static_cast<std::size_t>(first * size), static_cast<std::size_t>(count * size));
}

void SafetensorsReader::require_type(const StoredTensor& tensor, StoredType expected) const {
    require_input(tensor.type == expected, name_, ": tensor '", tensor.name, "' is ", tensor.describe(), ", but ",
                  name_of(expected), " was expected; export it in that type");
}

namespace {

template <typename Stored, typename ToFloat>
void convert(std::span<const std::byte> from, std::span<float> to, const ToFloat& to_float) {
    for (std::size_t i = 0; i < to.size(); ++i) {
        Stored value;
        std::memcpy(&value, from.data() + i * sizeof(Stored), sizeof(Stored));
        to[i] = to_float(value);
    }
}

}  // namespace

void SafetensorsReader::copy_as_f32(const StoredTensor& tensor, std::span<float> values, std::int64_t first) const {
    const auto from = element_bytes(tensor, first, static_cast<std::int64_t>(values.size()));
    switch (tensor.type) {
        case StoredType::F32: return convert<float>(from, values, [](float value) { return value; });
        case StoredType::F16: return convert<std::uint16_t>(from, values, f16_to_f32);
        case StoredType::BF16: return convert<bf16>(from, values, [](bf16 value) { return float(value); });
        case StoredType::F64: return convert<double>(from, values, [](double value) { return float(value); });
        default:
            fail(Fault::input, name_, ": tensor '", tensor.name, "' is ", tensor.describe(),
                 ", but F32, F16, BF16 or F64 was expected; export it in one of these");
    }
}

float f16_to_f32(std::uint16_t bits) {
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
    const std::uint32_t exponent = (bits >> 10) & 31u;
    const std::uint32_t fraction = bits & 1023u;
    if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (fraction << 13));
    if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (fraction << 13));
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;  // subnormal in half, normal in single
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
}

namespace {

void require_storable(const std::vector<TensorToStore>& tensors, const std::string& file) {
    std::set<std::string_view> names;
    for (const TensorToStore& tensor : tensors) {
        const auto bytes = bytes_of(tensor.type, tensor.shape);
        require(bytes.has_value(), file, ": tensor '", tensor.name, "': the shape ", shape_text(tensor.shape),
                " is not possible");
        require(tensor.produce || static_cast<std::int64_t>(tensor.data.size()) == *bytes, file, ": tensor '",
                tensor.name, "': ", name_of(tensor.type), " ", shape_text(tensor.shape), " has ", *bytes, " bytes, ",
                tensor.data.size(), " were given");
        require(tensor.name != kMetadataKey && names.insert(tensor.name).second, file, ": the name '", tensor.name,
                "' is taken: give every tensor its own");
    }
}

/// The header as text, without its length; tensors in the order of their data.
std::string header_text(const std::vector<const TensorToStore*>& tensors,
                        const std::map<std::string, std::string>& metadata) {
    std::string header = "{";
    if (!metadata.empty()) header += text("\"", kMetadataKey, "\":", Json(metadata).dump());
    std::int64_t offset = 0;
    for (const TensorToStore* tensor : tensors) {
        const std::int64_t end = offset + *bytes_of(tensor->type, tensor->shape);
        header +=
            text(header.size() == 1 ? "" : ",", Json(tensor->name).dump(), ":{\"dtype\":\"", name_of(tensor->type),
                 "\",\"shape\":", shape_text(tensor->shape), ",\"data_offsets\":[", offset, ",", end, "]}");
        offset = end;
    }
    header += "}";
    header.resize((header.size() + kHeaderAlignment - 1) / kHeaderAlignment * kHeaderAlignment, ' ');
    return header;
}

}  // namespace

void write_safetensors(OutputFile& file, const std::vector<TensorToStore>& tensors,
                       const std::map<std::string, std::string>& metadata) {
    const std::string name = file.path().string();
    require_storable(tensors, name);
    std::vector<const TensorToStore*> ordered;
    for (const TensorToStore& tensor : tensors) ordered.push_back(&tensor);
    std::stable_sort(ordered.begin(), ordered.end(), [](const TensorToStore* a, const TensorToStore* b) {
        return size_of(a->type) > size_of(b->type);
    });

    std::string header;
    try {
        header = header_text(ordered, metadata);
    } catch (const Json::exception& error) {
        fail(Fault::usage, name, ": a tensor name or metadata is not UTF-8: ", error.what());
    }
    const std::uint64_t header_bytes = header.size();
    file.write(std::as_bytes(std::span(&header_bytes, 1)));
    file.write(header);
    for (const TensorToStore* tensor : ordered) {
        const std::int64_t start = file.bytes_written();
        if (tensor->produce) {
            tensor->produce([&file](std::span<const std::byte> piece) { file.write(piece); });
        } else {
            file.write(tensor->data);
        }
        const std::int64_t bytes = *bytes_of(tensor->type, tensor->shape);
        require(file.bytes_written() - start == bytes, name, ": tensor '", tensor->name, "' has ", bytes, " bytes, ",
                file.bytes_written() - start, " were produced");
    }
}

}  // namespace cloze
