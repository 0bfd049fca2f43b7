// `cloze inspect PATH`: says what PATH is, what it holds and whether it is whole. Recognises by content, not by name,
// but for vocabularies, which are any text. Tested by tests/tools/inspect_test.cpp.
#include <cstdio>
#include <filesystem>

#include "engine/data/dataset.h"
#include "engine/files/mapped_file.h"
#include "engine/train/checkpoint.h"
#include "engine/train/run_record.h"
#include "tools/commands.h"
#include "tools/flag_checks.h"
#include "tools/format.h"
#include "tools/inspect_report.h"

namespace cloze {
namespace {

namespace fs = std::filesystem;

using Inspect = Damage (*)(Console&, const fs::path&);

Inspect inspector_of_folder(const fs::path& folder) {
    if (is_dataset(folder)) return inspect_dataset;
    if (fs::exists(folder / kCheckpointManifest)) return inspect_checkpoint;
    if (fs::exists(folder / kRunRecord) || !list_checkpoints(folder).empty()) return inspect_run;
    if (fs::exists(folder / "config.json")) return inspect_model_folder;
    fail(Fault::input, folder.string(),
         ": neither a dataset, a run, a checkpoint nor a model folder; cloze prepare and cloze pretrain make these");
}

bool is_safetensors(std::string_view start) {
    return start.size() > 9 && start[8] == '{' && start.substr(3, 5) == std::string_view("\0\0\0\0\0", 5);
}

Inspect inspector_of_file(const fs::path& file) {
    const MappedFile contents(file);
    const std::string_view start = contents.text().substr(0, 16);
    require_input(!start.empty(), file.string(), ": the file is empty");
    if (start.starts_with("CLZSHARD")) return inspect_shard;
    if (is_safetensors(start) || file.extension() == ".safetensors") return inspect_safetensors;
    const std::size_t first = contents.text().find_first_not_of(" \t\r\n");
    if (first != std::string_view::npos && contents.text()[first] == '{') return inspect_config;
    return inspect_vocabulary;
}

/// A manifest stands for its folder.
fs::path what_to_inspect(const fs::path& path) {
    const std::string name = path.filename().string();
    const bool manifest = name == kDatasetManifest || name == kCheckpointManifest || name == kRunRecord;
    if (!manifest) return path;
    return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

void run_inspect(const std::string& given) {
    const fs::path path = what_to_inspect(given);
    require_input(fs::exists(path), path.string(), ": no such file or folder");
    Console console(false);
    const Inspect inspect = fs::is_directory(path) ? inspector_of_folder(path) : inspector_of_file(path);
    const Damage damage = inspect(console, path);
    for (const std::string& line : damage) console.line("  damaged: " + line);
    require_input(damage.empty(), path.string(), ": ", counted(static_cast<std::int64_t>(damage.size()), "problem"),
                  ", listed above; take a copy that is whole, or make it again");
}

}  // namespace

Command inspect_command(CLI::App& program) {
    auto path = std::make_shared<std::string>();
    CLI::App* app = program.add_subcommand("inspect", "Say what a file or folder is, and whether it is whole");
    app->add_option("PATH", *path, "What to look at")->required()->check(some_name());
    app->footer(R"(PATH is a dataset, shard, run, checkpoint, model folder, safetensors file,
vocabulary or model configuration. Every byte is read and every checksum checked;
exit code 3 when something is damaged.

Examples:
  cloze inspect dataset
  cloze inspect run/checkpoint-00001000)");
    return {app, [path] { run_inspect(*path); }};
}

}  // namespace cloze
