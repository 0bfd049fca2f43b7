// What `cloze inspect` says of each kind of thing. Every function prints to the console and returns the damage it
// found, one line each; empty means whole. What cannot be read at all throws. Tested by tests/tools/inspect_test.cpp.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/data/dataset.h"
#include "tools/console.h"

namespace cloze {

using Damage = std::vector<std::string>;

/// What a split holds, on one line.
std::string split_text(const SplitCounts& split);

Damage inspect_dataset(Console& console, const std::filesystem::path& folder);
Damage inspect_shard(Console& console, const std::filesystem::path& file);
Damage inspect_checkpoint(Console& console, const std::filesystem::path& folder);
/// A model folder that another program wrote: no manifest, so nothing to check against.
Damage inspect_model_folder(Console& console, const std::filesystem::path& folder);
Damage inspect_run(Console& console, const std::filesystem::path& folder);
Damage inspect_safetensors(Console& console, const std::filesystem::path& file);
Damage inspect_vocabulary(Console& console, const std::filesystem::path& file);
Damage inspect_config(Console& console, const std::filesystem::path& file);

}  // namespace cloze
