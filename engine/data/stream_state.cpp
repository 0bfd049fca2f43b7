// The text form of StreamState: one JSON object, part of a checkpoint's training_state.json.
#include "engine/data/batch_stream.h"
#include "engine/files/json.h"

namespace cloze {

std::string stream_state_json(const StreamState& state) {
    Json epochs = Json::array();
    for (const StreamState::Epoch& epoch : state.epochs) {
        epochs.push_back({{"epoch", epoch.epoch}, {"first_sample", epoch.first}});
    }
    const Json json = {{"identity", state.identity},
                       {"epochs", epochs},
                       {"next_sample", state.packer.next},
                       {"waiting_samples", state.packer.window},
                       {"steps", state.steps},
                       {"sequences", state.sequences},
                       {"tokens", state.tokens}};
    return json.dump();
}

StreamState parse_stream_state(const std::string& json, const std::string& source) {
    const Json parsed = parse_json(json, source);
    const JsonObject object(parsed, source);
    StreamState state;
    state.identity = object.require<std::string>("identity");
    for (const JsonObject& epoch : object.require_objects("epochs")) {
        state.epochs.push_back({epoch.require<std::uint32_t>("epoch"), epoch.require<std::uint64_t>("first_sample")});
    }
    state.packer.next = object.require<std::uint64_t>("next_sample");
    state.packer.window = object.require<std::vector<std::uint64_t>>("waiting_samples");
    state.steps = object.require<std::uint64_t>("steps");
    state.sequences = object.require<std::uint64_t>("sequences");
    state.tokens = object.require<std::uint64_t>("tokens");

    std::uint64_t below = state.epochs.empty() ? 0 : state.epochs.front().first;
    bool first = true;
    for (const std::uint64_t index : state.packer.window) {
        const bool ascends = first ? index >= below : index > below;
        if (!ascends || index >= state.packer.next) {
            object.refuse("waiting_samples", "the indices must ascend and lie between the first epoch and next_sample");
        }
        below = index;
        first = false;
    }
    return state;
}

}  // namespace cloze
