// Any bytes as JSON: a value that writes and reads back as itself, or one line of complaint.
#include <cstdlib>

#include "engine/files/json.h"

namespace {

void demand(bool law) {
    if (!law) std::abort();
}

/// Reads every key as every type: a value or a refusal.
void read_members(const cloze::Json& value) {
    const auto attempt = [](const auto& read) {
        try {
            read();
        } catch (const cloze::Error& error) {
            demand(error.fault() == cloze::Fault::input);
        }
    };
    const cloze::JsonObject object(value, "fuzz.json");
    for (const std::string& key : object.keys()) {
        attempt([&] { object.require<bool>(key); });
        attempt([&] { object.require<std::int64_t>(key); });
        attempt([&] { object.require<std::uint8_t>(key); });
        attempt([&] { object.require<float>(key); });
        attempt([&] { object.require<std::string>(key); });
        attempt([&] { object.require<std::vector<std::int32_t>>(key); });
        attempt([&] { object.require_objects(key); });
        attempt([&] { object.require_object(key); });
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    try {
        const cloze::Json value = cloze::parse_json(text, "fuzz.json", {.bytes = 1 << 20, .depth = 32});
        demand(cloze::Json::accept(text));
        demand(cloze::parse_json(cloze::json_text(value), "again") == value);
        if (value.is_object()) read_members(value);
    } catch (const cloze::Error& error) {
        const std::string message = error.what();
        demand(error.fault() == cloze::Fault::input);
        demand(message.starts_with("fuzz.json") && message.size() < 600);
        for (const char c : message) demand(c >= 0x20 && c < 0x7f);
    }
    return 0;
}
