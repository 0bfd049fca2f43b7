#include "benchmarks/bench/facts.h"

#include <cstdio>
#include <ctime>
#include <memory>

#include "kernels/core/device_info.h"

namespace cloze::bench {

std::string first_line_of(const std::string& shell_command) {
    struct Close {
        void operator()(std::FILE* pipe) const { pclose(pipe); }
    };
    const std::unique_ptr<std::FILE, Close> pipe(popen((shell_command + " 2>/dev/null").c_str(), "r"));
    char buffer[512];
    if (!pipe || std::fgets(buffer, sizeof buffer, pipe.get()) == nullptr) return "";
    std::string line = buffer;
    line.erase(line.find_last_not_of("\r\n ") + 1);
    return line;
}

Facts facts_of_now(const std::string& command, const std::string& commit) {
    const std::time_t now = std::time(nullptr);
    char date[32];
    std::strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", std::gmtime(&now));
    Facts facts{.date = date, .command = command, .commit = commit, .device = "none", .driver = "", .cuda = ""};
    if (facts.commit.empty()) facts.commit = first_line_of("git describe --always --dirty");
    if (facts.commit.empty()) facts.commit = "unknown";
#ifdef CLOZE_CUDA_VERSION
    facts.cuda = CLOZE_CUDA_VERSION;
#else
    facts.cuda = "none";
#endif
    return facts;
}

void add_device(Facts& facts, int device) {
    const DeviceInfo info = use_device(device);
    facts.device = info.name;
    facts.multiprocessors = info.multiprocessors;
    facts.memory_bytes = info.memory_bytes;
    const std::string query = first_line_of(
        "nvidia-smi --query-gpu=driver_version,power.limit,clocks.max.sm,clocks.max.mem --format=csv,noheader --id=" +
        std::to_string(device));
    facts.driver = query.empty() ? "nvidia-smi does not answer" : "driver, power limit, clocks: " + query;
}

}  // namespace cloze::bench
