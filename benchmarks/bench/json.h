// JSON for reports: a small tree of values, written in order and read back. Numbers are doubles, written with as few
// digits as give the same double again; what is not finite becomes null. Tested by tests/benchmarks/bench_test.py.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace cloze::bench {

class Json {
public:
    using Array = std::vector<Json>;
    using Object = std::vector<std::pair<std::string, Json>>;  // keeps the order it was built in

    Json() = default;  // null
    Json(bool value) : value_(value) {}
    Json(double value) : value_(value) {}
    Json(std::int64_t value) : value_(static_cast<double>(value)) {}
    Json(int value) : value_(static_cast<double>(value)) {}
    Json(const char* value) : value_(std::string(value)) {}
    Json(std::string value) : value_(std::move(value)) {}
    Json(Array value) : value_(std::move(value)) {}
    Json(Object value) : value_(std::move(value)) {}

    bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
    /// The value, or what stands for "none" where it is of another kind: 0, false, "", nothing.
    double number() const;
    bool truth() const;
    const std::string& text() const;
    const Array& array() const;
    const Object& object() const;
    /// The member `key`, or null.
    const Json& operator[](std::string_view key) const;

    std::string dump() const;
    /// Throws Fault::input naming `source` and the byte where it is no JSON.
    static Json parse(std::string_view text, const std::string& source);

private:
    void write(std::string& out, int depth) const;

    std::variant<std::monostate, bool, double, std::string, Array, Object> value_;
};

Json read_json(const std::string& path);
void write_file(const std::string& path, const std::string& contents);

}  // namespace cloze::bench
