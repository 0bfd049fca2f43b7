// What `cloze pretrain` shows: the preflight, the progress, evaluations, and the end of the run. Tested by
// tests/tools/console_test.cpp and tests/tools/pipeline_test.cpp.
#pragma once

#include "engine/train/run.h"
#include "tools/console.h"

namespace cloze {

void report_preflight(Console& console, const RunRecipe& recipe, const Preflight& preflight);
void report_progress(Console& console, const Progress& progress, bool next_sentence);
void report_evaluation(Console& console, const Evaluation& evaluation);
/// The losses of one evaluation beside its baseline, as lines; `cloze evaluate` prints them too.
std::vector<std::pair<std::string, std::string>> evaluation_rows(const Evaluation& evaluation);
void report_profile(Console& console, const StepProfile& profile, const std::filesystem::path& trace);
void report_result(Console& console, const RunResult& result);

}  // namespace cloze
