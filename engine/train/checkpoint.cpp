#include "engine/train/checkpoint.h"

#include <algorithm>
#include <cstdio>

#include "engine/files/atomic_folder.h"
#include "engine/files/safetensors.h"
#include "engine/model/host_copy.h"
#include "engine/model/weights_file.h"
#include "engine/text/huggingface_files.h"

namespace cloze {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefix = "checkpoint-";
constexpr std::int64_t kVersion = 1;

/// The step in a folder's name, or nothing when it is no checkpoint's name.
std::optional<std::int64_t> step_of(const fs::path& folder) {
    const std::string name = folder.filename().string();
    if (!name.starts_with(kPrefix)) return std::nullopt;
    const std::string digits = name.substr(std::string(kPrefix).size());
    const bool all_digits = !digits.empty() && digits.size() <= 18 &&
                            std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (!all_digits) return std::nullopt;
    return std::stoll(digits);
}

void store_tensors(AtomicFolder& folder, const std::string& name, const std::vector<TensorToStore>& tensors) {
    OutputFile file = folder.create(name);
    write_safetensors(file, tensors);
    folder.add(std::move(file));
}

void store_weights(AtomicFolder& folder, const Trainer& trainer) {
    const HostCopy weights(trainer.weights(), trainer.compute());
    store_tensors(folder, "model.safetensors", tensors_to_store(weights.view()));
}

void store_moments(AtomicFolder& folder, const Trainer& trainer) {
    const HostCopy first(trainer.first_moment(), trainer.compute());
    const HostCopy second(trainer.second_moment(), trainer.compute());
    std::vector<TensorToStore> moments = tensors_to_store(first.view(), "exp_avg.");
    for (TensorToStore& tensor : tensors_to_store(second.view(), "exp_avg_sq.")) moments.push_back(std::move(tensor));
    store_tensors(folder, "optimizer.safetensors", moments);
}

void load(const SafetensorsReader& file, const ParameterView& view, const std::string& prefix, const Compute& compute) {
    const HostCopy copy = HostCopy::to_be_written(view, compute);
    load_exactly(file, copy.view(), prefix);
    copy.send();
}

Json manifest_of(const TrainingState& state) {
    Json json = Json::object();
    json["format"] = "cloze-checkpoint";
    json["version"] = kVersion;
    json["step"] = state.step;
    json["updates"] = state.updates;
    json["stream"] = Json::parse(stream_state_json(state.stream));
    json["recipe"] = state.recipe;
    json["matrix_library"] = state.matrix_library;
    json["gemm_plans"] = state.gemm_plans;
    json["nonfinite_steps"] = state.nonfinite_steps;
    return json;
}

TrainingState state_of(const Json& json, const std::string& source) {
    const JsonObject object(json, source);
    const std::int64_t version = object.require<std::int64_t>("version");
    require_input(version == kVersion, source, ": version ", version, ", but this program reads ", kVersion,
                  "; continue with the program that wrote it");
    TrainingState state;
    state.step = object.require_integer("step", 0, std::int64_t{1} << 62);
    state.updates = object.require_integer("updates", 0, state.step);
    state.stream = parse_stream_state(object.require_object("stream").json().dump(), source);
    state.recipe = object.require_object("recipe").json();
    state.matrix_library = object.require<std::string>("matrix_library");
    state.gemm_plans = object.get_or<std::vector<std::string>>("gemm_plans", {});
    state.nonfinite_steps = object.require<std::int64_t>("nonfinite_steps");
    return state;
}

}  // namespace

fs::path checkpoint_folder(const fs::path& run_folder, std::int64_t step) {
    std::string digits = std::to_string(step);
    digits.insert(0, digits.size() < 8 ? 8 - digits.size() : 0, '0');
    return run_folder / (kPrefix + digits);
}

fs::path save_checkpoint(const fs::path& run_folder, const Trainer& trainer, const BertConfig& config,
                         const CheckpointText& text, const TrainingState& state) {
    require(trainer.unfinished() == 0, "checkpoint: ", trainer.unfinished(),
            " steps were begun; finish() them before they are saved");
    const fs::path final_folder = checkpoint_folder(run_folder, state.step);
    AtomicFolder folder(final_folder);
    folder.add("config.json", config_json(config, "BertForPreTraining"));
    folder.add("vocab.txt", text.vocabulary.contents());
    folder.add("tokenizer.json", tokenizer_json(text.vocabulary, text.tokenizer));
    folder.add("tokenizer_config.json",
               tokenizer_config_json(text.vocabulary, text.tokenizer, config.max_position_embeddings));
    folder.add("special_tokens_map.json", special_tokens_map_json());
    store_weights(folder, trainer);
    store_moments(folder, trainer);
    folder.commit(kCheckpointManifest, manifest_of(state));
    verify_folder(final_folder, read_manifest(final_folder, kCheckpointManifest).files);
    return final_folder;
}

std::vector<fs::path> list_checkpoints(const fs::path& run_folder) {
    std::vector<std::pair<std::int64_t, fs::path>> found;
    if (fs::is_directory(run_folder)) {
        for (const fs::directory_entry& entry : fs::directory_iterator(run_folder)) {
            const std::optional<std::int64_t> step = step_of(entry.path());
            if (step && entry.is_directory()) found.emplace_back(*step, entry.path());
        }
    }
    std::sort(found.rbegin(), found.rend());
    std::vector<fs::path> folders;
    for (auto& [step, folder] : found) folders.push_back(std::move(folder));
    return folders;
}

std::optional<fs::path> newest_valid_checkpoint(const fs::path& run_folder, std::vector<std::string>& notes) {
    for (const fs::path& folder : list_checkpoints(run_folder)) {
        try {
            verify_folder(folder, read_manifest(folder, kCheckpointManifest).files);
            return folder;
        } catch (const Error& error) {
            notes.push_back(text("passed over a damaged checkpoint: ", error.what()));
        }
    }
    return std::nullopt;
}

fs::path resolve_checkpoint(const fs::path& folder) {
    require_input(fs::is_directory(folder), folder.string(),
                  ": no such folder; name a checkpoint or the --output of a run");
    if (!list_checkpoints(folder).empty()) {
        std::vector<std::string> notes;
        const std::optional<fs::path> newest = newest_valid_checkpoint(folder, notes);
        require_input(newest.has_value(), folder.string(), ": every checkpoint there is damaged; ",
                      notes.empty() ? std::string() : notes.front());
        return *newest;
    }
    // A folder of other origin (save_pretrained) has no manifest; one of ours must be whole.
    if (fs::exists(folder / kCheckpointManifest)) {
        verify_folder(folder, read_manifest(folder, kCheckpointManifest).files);
    }
    require_input(fs::exists(folder / "config.json"), folder.string(),
                  ": neither a checkpoint (no config.json) nor a run folder (no checkpoint-*)");
    return folder;
}

TrainingState read_training_state(const fs::path& folder) {
    return state_of(read_manifest(folder, kCheckpointManifest).content, (folder / kCheckpointManifest).string());
}

TrainingState load_checkpoint(const fs::path& folder, Trainer& trainer) {
    const TrainingState state = read_training_state(folder);
    const Compute& compute = trainer.compute();
    load(SafetensorsReader(folder / "model.safetensors"), trainer.weights(), "", compute);
    trainer.weights_written();
    const SafetensorsReader moments(folder / "optimizer.safetensors");
    load(moments, trainer.first_moment(), "exp_avg.", compute);
    load(moments, trainer.second_moment(), "exp_avg_sq.", compute);
    trainer.set_progress({.steps = state.step, .updates = state.updates});
    return state;
}

void rotate_checkpoints(const fs::path& run_folder, std::int64_t keep, const fs::path& last_verified) {
    std::int64_t kept = 0;
    for (const fs::path& folder : list_checkpoints(run_folder)) {
        // A later one was damaged and passed over when the run was continued: no reason to remove an older, whole one.
        if (step_of(folder) > step_of(last_verified)) continue;
        if (kept++ >= keep) remove_tree(folder);
    }
}

std::int64_t checkpoint_bytes(const ParameterTable& table) {
    return 3 * 4 * table.parameter_count();
}

}  // namespace cloze
