#include "engine/files/json.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/files/mapped_file.h"

namespace cloze {

namespace {

/// Reads a text and remembers how far the parser has come, for line and column of our own complaints.
class WatchedText {
public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = char;
    using difference_type = std::ptrdiff_t;
    using pointer = const char*;
    using reference = const char&;

    WatchedText() = default;
    WatchedText(const char* at, const char** furthest) : at_(at), furthest_(furthest) {}
    reference operator*() const { return *at_; }
    WatchedText& operator++() {
        ++at_;
        *furthest_ = at_;
        return *this;
    }
    WatchedText operator++(int) {
        const WatchedText before = *this;
        ++*this;
        return before;
    }
    friend bool operator==(const WatchedText& a, const WatchedText& b) { return a.at_ == b.at_; }

private:
    const char* at_ = nullptr;
    const char** furthest_ = nullptr;
};

/// Builds the value, refusing what the library accepts: any depth, and the last of several equal keys.
class Builder final : public Json::json_sax_t {
public:
    explicit Builder(int depth) : depth_(depth) {}

    Json take() { return std::move(root_); }
    const std::string& problem() const { return problem_; }

    bool null() override { return put(nullptr); }
    bool boolean(bool value) override { return put(value); }
    bool number_integer(number_integer_t value) override { return put(value); }
    bool number_unsigned(number_unsigned_t value) override { return put(value); }
    bool number_float(number_float_t value, const string_t&) override { return put(value); }
    bool string(string_t& value) override { return put(std::move(value)); }
    bool binary(binary_t&) override { return false; }
    bool start_object(std::size_t) override { return open(Json::object()); }
    bool start_array(std::size_t) override { return open(Json::array()); }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }

    bool key(string_t& key) override {
        const auto [place, is_new] = open_.back()->get_ref<Json::object_t&>().try_emplace(key);
        place_ = &place->second;
        return is_new || refuse("the key \"" + key.substr(0, 100) + "\" stands here for the second time");
    }

    bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override {
        // Without the library's own prefix: "[json.exception.parse_error.101] parse error at line 1, column 2: ".
        std::string message = error.what();
        const std::size_t column = message.find(", column ");
        const std::size_t prefix =
            message.find(column == std::string::npos ? "] " : ": ", column == std::string::npos ? 0 : column);
        if (prefix != std::string::npos) message.erase(0, prefix + 2);
        return refuse(message);
    }

private:
    template <typename Value>
    bool put(Value&& value) {
        if (open_.empty()) {
            root_ = std::forward<Value>(value);
        } else if (open_.back()->is_array()) {
            open_.back()->push_back(std::forward<Value>(value));
        } else {
            *place_ = std::forward<Value>(value);
        }
        return true;
    }

    bool open(Json container) {
        if (static_cast<int>(open_.size()) >= depth_) {
            return refuse(text("more than ", depth_, " objects and arrays inside each other"));
        }
        put(std::move(container));
        if (open_.empty()) {
            open_.push_back(&root_);
        } else {
            open_.push_back(open_.back()->is_array() ? &open_.back()->back() : place_);
        }
        return true;
    }

    bool close() {
        open_.pop_back();
        return true;
    }

    bool refuse(std::string problem) {
        problem_ = std::move(problem);
        return false;
    }

    int depth_;
    Json root_;
    std::vector<Json*> open_;  // the containers around the next value, outermost first
    Json* place_ = nullptr;    // of the value that belongs to the last key
    std::string problem_;
};

/// A message made of what a stranger wrote: plain ASCII (anything else may be broken), not too long.
std::string printable(std::string text) {
    constexpr std::size_t limit = 200;
    if (text.size() > limit) text = text.substr(0, limit) + "...";
    std::replace_if(
        text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c > 0x7e; }, '?');
    return text;
}

}  // namespace

Json parse_json(std::string_view text, const std::string& source, const JsonLimits& limits) {
    require_input(static_cast<std::int64_t>(text.size()) <= limits.bytes, source, ": is longer than the ", limits.bytes,
                  " bytes allowed here; is it the right file?");
    const char* furthest = text.data();
    Builder builder(limits.depth);
    const WatchedText end(text.data() + text.size(), &furthest);
    // The library takes a zero byte for the end of the text; nothing may hide behind one.
    const std::size_t zero = text.find('\0');
    const bool ok = Json::sax_parse(WatchedText(text.data(), &furthest), end, &builder);
    if (ok && zero == std::string_view::npos) return builder.take();

    const std::size_t position = ok ? zero + 1 : static_cast<std::size_t>(furthest - text.data());
    const std::string_view read = text.substr(0, position);
    const std::size_t line_end = read.rfind('\n');
    fail(Fault::input, source, " line ", std::count(read.begin(), read.end(), '\n') + 1, ", column ",
         line_end == std::string_view::npos ? read.size() : read.size() - line_end - 1, ": ",
         ok ? "a zero byte after the value" : printable(builder.problem()), "; correct the file");
}

Json read_json(const std::filesystem::path& file, const JsonLimits& limits) {
    return parse_json(read_file(file, limits.bytes), file.string(), limits);
}

std::string json_text(const Json& value) {
    return value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string json_line(const Json& value) {
    return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

JsonObject::JsonObject(const Json& value, std::string source, std::string prefix)
    : value_(&value), source_(std::move(source)), prefix_(std::move(prefix)) {
    if (value.is_object()) return;
    const std::string where = prefix_.empty() ? "" : " \"" + prefix_.substr(0, prefix_.size() - 1) + "\"";
    fail(Fault::input, source_, ":", where, " expected an object { ... }, found ", shown(value), "; correct the file");
}

std::vector<std::string> JsonObject::keys() const {
    std::vector<std::string> result;
    for (const auto& member : value_->items()) result.push_back(member.key());
    return result;
}

const Json& JsonObject::member(const std::string& key) const {
    const auto found = value_->find(key);
    if (found == value_->end()) refuse(key, "missing");
    return *found;
}

std::int64_t JsonObject::require_integer(const std::string& key, std::int64_t low, std::int64_t high) const {
    const auto value = require<std::int64_t>(key);
    if (value < low || value > high) {
        refuse(key, cloze::text(value, " is not between ", low, " and ", high));
    }
    return value;
}

JsonObject JsonObject::require_object(const std::string& key) const {
    return JsonObject(member(key), source_, prefix_ + key + ".");
}

std::vector<JsonObject> JsonObject::require_objects(const std::string& key) const {
    const Json& array = member(key);
    if (!array.is_array()) refuse(key, cloze::text("expected an array, found ", shown(array)));
    std::vector<JsonObject> result;
    for (std::size_t i = 0; i < array.size(); ++i) {
        result.emplace_back(array[i], source_, cloze::text(prefix_, key, "[", i, "]."));
    }
    return result;
}

void JsonObject::refuse(const std::string& key, const std::string& problem) const {
    fail(Fault::input, source_, ": key \"", prefix_, printable(key), "\": ", problem, "; correct the file");
}

std::string JsonObject::shown(const Json& value) {
    if (value.is_structured()) return value.is_array() ? "an array" : "an object";
    return printable(value.dump(-1, ' ', true, Json::error_handler_t::replace));
}

}  // namespace cloze
