#include "benchmarks/bench/json.h"

#include <charconv>
#include <cmath>
#include <fstream>
#include <iterator>

#include "kernels/core/error.h"

namespace cloze::bench {

namespace {

void write_text(std::string& out, std::string_view text) {
    constexpr std::string_view kHex = "0123456789abcdef";
    out += '"';
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (byte < 0x20) {
            out += "\\u00";
            out += kHex[byte / 16];
            out += kHex[byte % 16];
        } else {
            out += c;
        }
    }
    out += '"';
}

void write_number(std::string& out, double value) {
    if (!std::isfinite(value)) {
        out += "null";
        return;
    }
    char digits[32];
    const auto [end, error] = std::to_chars(std::begin(digits), std::end(digits), value);
    out.append(digits, end);
}

/// A reader of one text. Depth is bounded, so that no file can exhaust the stack.
class Parser {
public:
    Parser(std::string_view text, const std::string& source) : text_(text), source_(source) {}

    Json document() {
        Json value = this->value(0);
        skip_blanks();
        if (at_ != text_.size()) reject("text after the end");
        return value;
    }

private:
    static constexpr int kMostDepth = 64;

    [[noreturn]] void reject(const char* why) const {
        fail(Fault::input, source_, ": not JSON at byte ", at_, ": ", why);
    }
    void skip_blanks() {
        while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
    }
    char peek() {
        skip_blanks();
        return at_ < text_.size() ? text_[at_] : '\0';
    }
    void expect(char c) {
        if (peek() != c) reject("an unexpected character, or the end");
        ++at_;
    }
    bool takes(std::string_view word) {
        if (text_.substr(at_, word.size()) != word) return false;
        at_ += word.size();
        return true;
    }

    Json value(int depth) {
        if (depth > kMostDepth) reject("nested too deep");
        switch (peek()) {
            case '{': return object(depth);
            case '[': return array(depth);
            case '"': return string();
            default: break;
        }
        if (takes("null")) return {};
        if (takes("true")) return true;
        if (takes("false")) return false;
        double number = 0;
        const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), number);
        if (error != std::errc()) reject("no value");
        at_ = static_cast<std::size_t>(end - text_.data());
        return number;
    }

    Json object(int depth) {
        Json::Object members;
        expect('{');
        while (peek() != '}') {
            if (!members.empty()) expect(',');
            skip_blanks();
            std::string key = string();
            expect(':');
            members.emplace_back(std::move(key), value(depth + 1));
        }
        expect('}');
        return members;
    }

    Json array(int depth) {
        Json::Array elements;
        expect('[');
        while (peek() != ']') {
            if (!elements.empty()) expect(',');
            elements.push_back(value(depth + 1));
        }
        expect(']');
        return elements;
    }

    std::string string() {
        std::string result;
        expect('"');
        while (true) {
            if (at_ >= text_.size()) reject("a string without end");
            const char c = text_[at_++];
            if (c == '"') return result;
            if (c != '\\') {
                result += c;
                continue;
            }
            if (at_ >= text_.size()) reject("a string without end");
            escaped(result, text_[at_++]);
        }
    }

    void escaped(std::string& result, char c) {
        switch (c) {
            case 'n': result += '\n'; return;
            case 't': result += '\t'; return;
            case 'r': result += '\r'; return;
            case 'b': result += '\b'; return;
            case 'f': result += '\f'; return;
            case 'u': break;
            default: result += c; return;
        }
        unsigned code = 0;
        const char* first = text_.data() + at_;
        if (text_.size() - at_ < 4 || std::from_chars(first, first + 4, code, 16).ptr != first + 4) {
            reject("\\u without four digits");
        }
        at_ += 4;
        result += code < 0x80 ? static_cast<char>(code) : '?';  // reports are plain ASCII
    }

    std::string_view text_;
    const std::string& source_;
    std::size_t at_ = 0;
};

}  // namespace

double Json::number() const {
    const double* value = std::get_if<double>(&value_);
    return value != nullptr ? *value : 0;
}

bool Json::truth() const {
    const bool* value = std::get_if<bool>(&value_);
    return value != nullptr && *value;
}

const std::string& Json::text() const {
    static const std::string none;
    const std::string* value = std::get_if<std::string>(&value_);
    return value != nullptr ? *value : none;
}

const Json::Array& Json::array() const {
    static const Array none;
    const Array* value = std::get_if<Array>(&value_);
    return value != nullptr ? *value : none;
}

const Json::Object& Json::object() const {
    static const Object none;
    const Object* value = std::get_if<Object>(&value_);
    return value != nullptr ? *value : none;
}

const Json& Json::operator[](std::string_view key) const {
    static const Json null;
    for (const auto& [name, value] : object()) {
        if (name == key) return value;
    }
    return null;
}

// Objects and arrays of plain values stand on one line, so that a report has one line a row.
void Json::write(std::string& out, int depth) const {
    const auto is_plain = [](const Json& value) {
        return !std::holds_alternative<Array>(value.value_) && !std::holds_alternative<Object>(value.value_);
    };
    const auto separate = [&](bool first, bool own_line) {
        if (!first) out += own_line ? "," : ", ";
        if (own_line) out += '\n' + std::string(static_cast<std::size_t>(depth + 1), ' ');
    };
    if (const Object* members = std::get_if<Object>(&value_)) {
        const bool own_lines = depth < 1;
        out += '{';
        for (std::size_t i = 0; i < members->size(); ++i) {
            separate(i == 0, own_lines);
            write_text(out, (*members)[i].first);
            out += ": ";
            (*members)[i].second.write(out, depth + 1);
        }
        out += own_lines ? "\n}" : "}";
    } else if (const Array* elements = std::get_if<Array>(&value_)) {
        out += '[';
        for (std::size_t i = 0; i < elements->size(); ++i) {
            separate(i == 0, !is_plain((*elements)[i]));
            (*elements)[i].write(out, depth + 1);
        }
        out += ']';
    } else if (const std::string* text = std::get_if<std::string>(&value_)) {
        write_text(out, *text);
    } else if (const double* number = std::get_if<double>(&value_)) {
        write_number(out, *number);
    } else if (const bool* truth = std::get_if<bool>(&value_)) {
        out += *truth ? "true" : "false";
    } else {
        out += "null";
    }
}

std::string Json::dump() const {
    std::string out;
    write(out, 0);
    return out + '\n';
}

Json Json::parse(std::string_view text, const std::string& source) {
    return Parser(text, source).document();
}

Json read_json(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    require_input(static_cast<bool>(in), path, ": cannot be read");
    const std::string contents{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    return Json::parse(contents, path);
}

void write_file(const std::string& path, const std::string& contents) {
    std::ofstream out(path, std::ios::binary);
    out << contents;
    out.close();
    if (!out) fail(Fault::io, path, ": cannot be written");
}

}  // namespace cloze::bench
