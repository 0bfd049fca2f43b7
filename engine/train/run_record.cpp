#include "engine/train/run_record.h"

namespace cloze {
namespace {

namespace fs = std::filesystem;

/// Keys of nested objects as "optimizer.beta1", so that a difference is named by where it is.
void flatten(const Json& json, const std::string& prefix, std::map<std::string, std::string>& flat) {
    for (const auto& [key, value] : json.items()) {
        if (value.is_object()) {
            flatten(value, prefix + key + ".", flat);
        } else {
            flat[prefix + key] = value.dump();
        }
    }
}

}  // namespace

Json optimizer_record(const OptimizerRecipe& recipe) {
    return {{"kind", name_of(recipe.kind)},
            {"beta1", recipe.beta1},
            {"beta2", recipe.beta2},
            {"epsilon", recipe.epsilon},
            {"weight_decay", recipe.weight_decay},
            {"bias_correction", recipe.bias_correction},
            {"max_gradient_norm", recipe.max_gradient_norm},
            {"schedule", name_of(recipe.schedule.kind)},
            {"learning_rate", recipe.schedule.base},
            {"warmup_steps", recipe.schedule.warmup_steps},
            {"max_steps", recipe.schedule.total_steps},
            {"poly_degree", recipe.schedule.degree}};
}

Json samples_record(const SampleSettings& samples) {
    return {{"max_seq_length", samples.max_seq_length},
            {"max_predictions_per_seq", samples.max_predictions()},
            {"masked_lm_prob", samples.masked_lm_prob},
            {"short_seq_prob", samples.short_seq_prob},
            {"mask_share", samples.mask_share},
            {"random_share", samples.random_share},
            {"keep_share", samples.keep_share},
            {"whole_word_mask", samples.whole_word_mask},
            {"next_sentence", name_of(samples.next_sentence)},
            {"seed", samples.seed}};
}

Json record_of(const RunRecipe& recipe, const std::string& corpus, const std::string& tokenizer) {
    Json json = Json::object();
    json["format"] = "cloze-run";
    json["version"] = 1;
    json["model"] = Json::parse(config_json(recipe.model, "BertForPreTraining"));
    json["corpus"] = corpus;
    json["tokenizer"] = tokenizer;
    json["samples"] = samples_record(recipe.samples);
    json["init_from"] = recipe.init_from.string();
    json["initialization"] = name_of(recipe.initialization);
    json["global_batch_size"] = recipe.global_batch_size;
    json["micro_batch_tokens"] = recipe.micro_batch_tokens;
    json["virtual_ranks"] = recipe.virtual_ranks;
    json["precision"] = name_of(recipe.precision);
    json["optimizer"] = optimizer_record(recipe.optimizer);
    return json;
}

SampleSettings recorded_samples(const Json& record, const std::string& source) {
    const JsonObject object = JsonObject(record, source).require_object("samples");
    SampleSettings samples;
    samples.max_seq_length = object.require<std::int64_t>("max_seq_length");
    samples.max_predictions_per_seq = object.require<std::int64_t>("max_predictions_per_seq");
    samples.masked_lm_prob = object.require<double>("masked_lm_prob");
    samples.short_seq_prob = object.require<double>("short_seq_prob");
    samples.mask_share = object.require<double>("mask_share");
    samples.random_share = object.require<double>("random_share");
    samples.keep_share = object.require<double>("keep_share");
    samples.whole_word_mask = object.require<bool>("whole_word_mask");
    samples.next_sentence = parse_next_sentence(object.require<std::string>("next_sentence"));
    samples.seed = object.require<std::uint64_t>("seed");
    require_settings(samples);
    return samples;
}

std::optional<Json> read_record(const fs::path& run_folder) {
    const fs::path file = run_folder / kRunRecord;
    if (!fs::exists(file)) return std::nullopt;
    return read_json(file);
}

void require_same_run(const Json& recorded, const Json& wanted, const fs::path& run_folder) {
    std::map<std::string, std::string> old_values;
    std::map<std::string, std::string> new_values;
    flatten(recorded, "", old_values);
    flatten(wanted, "", new_values);
    std::string differences;
    for (const auto& [key, value] : new_values) {
        const auto found = old_values.find(key);
        const std::string before = found == old_values.end() ? "absent" : found->second;
        if (before != value)
            differences += text(differences.empty() ? "" : ", ", key, " ", before, " there, ", value, " here");
    }
    for (const auto& [key, value] : old_values) {
        if (new_values.count(key) == 0)
            differences += text(differences.empty() ? "" : ", ", key, " ", value, " there, absent here");
    }
    require_input(differences.empty(), run_folder.string(), " belongs to another run (", differences,
                  "); repeat its command to continue it, or choose another --output");
}

}  // namespace cloze
