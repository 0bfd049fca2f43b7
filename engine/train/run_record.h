// run.json: what a run is. A folder's record decides whether a command continues the run or belongs to another one.
// Tested by tests/train/run_test.cpp.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "engine/files/json.h"
#include "engine/train/run.h"

namespace cloze {

inline constexpr const char* kRunRecord = "run.json";

/// Every setting by its key in a record.
Json optimizer_record(const OptimizerRecipe& recipe);
Json samples_record(const SampleSettings& samples);

/// Everything that decides the numbers of a run, as JSON. `corpus` is TokenStore::identity() of the training split.
Json record_of(const RunRecipe& recipe, const std::string& corpus, const std::string& tokenizer);

/// The sample settings of a record, or of the recipe in a checkpoint.
SampleSettings recorded_samples(const Json& record, const std::string& source);

/// Nothing when the folder has no record yet.
std::optional<Json> read_record(const std::filesystem::path& run_folder);

/// Throws Fault::input naming every key whose value differs, with both values.
void require_same_run(const Json& recorded, const Json& wanted, const std::filesystem::path& run_folder);

}  // namespace cloze
