#include "engine/device/host_memory.h"

#include <catch2/catch.hpp>
#include <limits>

#include "tests/support.h"

using namespace cloze;

TEST_CASE("available memory is the kernel's word, or a control group's where that is less") {
    const test::TemporaryFolder root;
    const auto write = [&](const char* file, const char* text) { test::write_file(root.path() / file, text); };
    CHECK(available_host_bytes(root.path()) == std::numeric_limits<std::int64_t>::max());
    write("proc/meminfo", "MemTotal:       16000 kB\nMemFree:  100 kB\nMemAvailable:    8000 kB\n");
    CHECK(available_host_bytes(root.path()) == 8000 * 1024);
    write("proc/self/cgroup", "0::/jobs/17\n");
    write("sys/fs/cgroup/jobs/17/memory.max", "max\n");
    write("sys/fs/cgroup/jobs/17/memory.current", "1000000\n");
    CHECK(available_host_bytes(root.path()) == 8000 * 1024);
    write("sys/fs/cgroup/jobs/17/memory.max", "5000000\n");
    CHECK(available_host_bytes(root.path()) == 4000000);
    write("sys/fs/cgroup/jobs/17/memory.current", "6000000\n");
    CHECK(available_host_bytes(root.path()) == 0);
}

TEST_CASE("this machine has memory left") {
    CHECK(available_host_bytes() > 0);
}
