// `cloze version`: what this program is and can use. Tested by tests/tools/help_test.cpp.
#include <cstdio>

#include "engine/device/device.h"
#include "engine/text/tokenizer.h"
#include "tools/commands.h"

namespace cloze {
namespace {

/// ", 2 x cuda"; without a GPU, why.
std::string gpus_text() {
    const std::string kind = Device::kind();
    if (kind == "none") return "; built without device code";
    return Device::count() == 0 ? "; no GPU is visible" : text(", ", Device::count(), " x ", kind);
}

void run_version() {
    std::printf("cloze %s\n", CLOZE_VERSION);
    std::printf("devices          cpu%s\n", gpus_text().c_str());
    std::printf("matrix products  %s\n", host_gemm_library());
    std::printf("tokenizer modes  %s, %s\n", tokenizer_mode_name(TokenizerMode::google).c_str(),
                tokenizer_mode_name(TokenizerMode::hf).c_str());
}

}  // namespace

Command version_command(CLI::App& program) {
    CLI::App* app = program.add_subcommand("version", "Print version, devices, libraries and tokenizer tables");
    return {app, run_version};
}

}  // namespace cloze
