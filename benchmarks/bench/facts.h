// Where and when a figure was measured: without these it does not exist.
#pragma once

#include <string>

#include "benchmarks/bench/report.h"

namespace cloze::bench {

/// Facts of this moment, without a device. `commit`: as the caller knows it; empty = asked of git.
Facts facts_of_now(const std::string& command, const std::string& commit);

/// Adds those of the device in use.
void add_device(Facts& facts, int device);

/// The first line that a shell command prints; empty where it fails.
std::string first_line_of(const std::string& shell_command);

}  // namespace cloze::bench
