// JSON files that users or other programs wrote: bounded size and depth, duplicate keys refused, errors with file, line
// and column; and typed access whose errors name file and key. Thin over nlohmann-json. Tested by
// tests/files/json_test.cpp and tests/fuzz/json_fuzz.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "kernels/core/error.h"

namespace cloze {

using Json = nlohmann::json;

struct JsonLimits {
    std::int64_t bytes = 64 << 20;
    int depth = 64;
};

/// Parses one JSON value. Throws Fault::input: "config.json line 3, column 14: ...". `source` names the text in
/// messages.
Json parse_json(std::string_view text, const std::string& source, const JsonLimits& limits = {});
Json read_json(const std::filesystem::path& file, const JsonLimits& limits = {});

/// The value as text with two spaces of indent, keys sorted, a line end at the end. What is not UTF-8 (a file's name,
/// an argument) is replaced by U+FFFD: a file that was named so is no reason to lose what was made of it.
std::string json_text(const Json& value);
/// The same on one line, without a line end.
std::string json_line(const Json& value);

/// Typed reading of an object. Holds references: the Json must outlive it.
class JsonObject {
public:
    /// Throws Fault::input unless `value` is an object. `source` is the file; `prefix` names nested objects in messages
    /// ("data.").
    JsonObject(const Json& value, std::string source, std::string prefix = "");

    const Json& json() const { return *value_; }
    const std::string& source() const { return source_; }
    bool has(const std::string& key) const { return value_->contains(key); }
    std::vector<std::string> keys() const;

    /// The value of `key` as T: bool, integers (in range), double, float, std::string or std::vector of these.
    template <typename T>
    T require(const std::string& key) const {
        return convert<T>(member(key), key);
    }
    /// The same, or `fallback` when the key is absent or null.
    template <typename T>
    T get_or(const std::string& key, T fallback) const {
        const auto found = value_->find(key);
        return found == value_->end() || found->is_null() ? fallback : convert<T>(*found, key);
    }
    /// An integer within [low, high].
    std::int64_t require_integer(const std::string& key, std::int64_t low, std::int64_t high) const;
    JsonObject require_object(const std::string& key) const;
    /// The members of an array of objects.
    std::vector<JsonObject> require_objects(const std::string& key) const;

    /// Throws Fault::input "FILE: key "PREFIXkey": PROBLEM".
    [[noreturn]] void refuse(const std::string& key, const std::string& problem) const;

private:
    const Json& member(const std::string& key) const;

    template <typename T>
    struct IsVector : std::false_type {};
    template <typename T>
    struct IsVector<std::vector<T>> : std::true_type {};

    template <typename T>
    T convert(const Json& value, const std::string& key) const {
        if constexpr (IsVector<T>::value) {
            if (!value.is_array()) refuse(key, cloze::text("expected an array, found ", value.type_name()));
            T result;
            for (const Json& element : value) result.push_back(convert<typename T::value_type>(element, key));
            return result;
        } else if constexpr (std::is_same_v<T, bool>) {
            if (!value.is_boolean()) refuse(key, cloze::text("expected true or false, found ", shown(value)));
            return value.get<bool>();
        } else if constexpr (std::is_same_v<T, std::string>) {
            if (!value.is_string()) refuse(key, cloze::text("expected a text, found ", shown(value)));
            return value.get<std::string>();
        } else if constexpr (std::is_floating_point_v<T>) {
            if (!value.is_number()) refuse(key, cloze::text("expected a number, found ", shown(value)));
            return value.get<T>();
        } else {
            static_assert(std::is_integral_v<T>, "not a type JsonObject converts to");
            if (!value.is_number_integer()) refuse(key, cloze::text("expected an integer, found ", shown(value)));
            const bool fits = value.is_number_unsigned() ? std::in_range<T>(value.get<std::uint64_t>())
                                                         : std::in_range<T>(value.get<std::int64_t>());
            if (!fits) refuse(key, cloze::text("the integer ", shown(value), " is out of range"));
            return value.get<T>();
        }
    }
    /// The value, cut to a length that suits a message.
    static std::string shown(const Json& value);

    const Json* value_;
    std::string source_;
    std::string prefix_;
};

}  // namespace cloze
