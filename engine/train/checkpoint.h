// Checkpoints: folders that transformers' from_pretrained loads as they are, and from which a run continues to the bit.
//
//   model.safetensors, config.json, vocab.txt, tokenizer.json, tokenizer_config.json, special_tokens_map.json
//   optimizer.safetensors     moments: exp_avg.NAME and exp_avg_sq.NAME, f32
//   training_state.json       step, place in the sample stream, recipe; size and checksum of every file; written last
//
// Written aside, brought to the disk, renamed (engine/files/atomic_folder.h); a folder without a valid manifest does
// not exist. Tested by tests/train/checkpoint_test.cpp and tests/train/kill_test.py.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine/data/batch_stream.h"
#include "engine/files/json.h"
#include "engine/text/tokenizer.h"
#include "engine/train/trainer.h"

namespace cloze {

inline constexpr const char* kCheckpointManifest = "training_state.json";

/// What a checkpoint keeps besides weights and moments.
struct TrainingState {
    std::int64_t step = 0;     // steps done
    std::int64_t updates = 0;  // of these, not skipped
    StreamState stream;
    Json recipe;                               // of the run, as in run.json
    std::string matrix_library;                // what the matrix products ran on, and where: others round differently
    std::vector<std::string> gemm_plans = {};  // of a device: the algorithm of each product
    std::int64_t nonfinite_steps = 0;          // skipped in a row
};

/// The text side of a checkpoint.
struct CheckpointText {
    const Vocabulary& vocabulary;
    TokenizerOptions tokenizer;
};

/// run_folder/checkpoint-00000100
std::filesystem::path checkpoint_folder(const std::filesystem::path& run_folder, std::int64_t step);

/// Writes and verifies one checkpoint; an existing one of the same step is replaced in one rename.
std::filesystem::path save_checkpoint(const std::filesystem::path& run_folder, const Trainer& trainer,
                                      const BertConfig& config, const CheckpointText& text, const TrainingState& state);

/// Every folder of that name, the newest first; not verified.
std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& run_folder);

/// The newest one whose manifest and files are whole. `notes` gets a line for each damaged one that was passed over.
std::optional<std::filesystem::path> newest_valid_checkpoint(const std::filesystem::path& run_folder,
                                                             std::vector<std::string>& notes);

/// A checkpoint folder as named by a user: itself, or the newest valid one of a run folder.
std::filesystem::path resolve_checkpoint(const std::filesystem::path& folder);

/// Of a verified checkpoint.
TrainingState read_training_state(const std::filesystem::path& folder);

/// Fills the trainer's weights, moments and step. The folder has been verified.
TrainingState load_checkpoint(const std::filesystem::path& folder, Trainer& trainer);

/// Removes the oldest until `keep` remain, never `last_verified`.
void rotate_checkpoints(const std::filesystem::path& run_folder, std::int64_t keep,
                        const std::filesystem::path& last_verified);

/// Bytes of one checkpoint's weights and moments.
std::int64_t checkpoint_bytes(const ParameterTable& table);

}  // namespace cloze
