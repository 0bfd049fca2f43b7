// The command line of cloze-bench.
#pragma once

#include <string>
#include <vector>

#include "benchmarks/bench/case.h"

namespace cloze::bench {

struct Options {
    std::string what = "all";  // kernels, gemm, copy, all or report
    std::string json, svg;     // files to write; empty = not wanted
    std::string peers, from;   // files to read
    std::string filter;        // only rows whose key contains it
    std::string commit;
    bool quick = false;
    bool brief = false;  // print the short table
    bool smoke = false;  // tiny sizes, one sample: does everything run? for tests
    bool help = false;
    DType dtype = DType::bf16;
    double seconds = 0;    // a case; 0 = the default
    double sustained = 0;  // seconds; 0 = not wanted
    int candidates = 8;    // algorithms that are tried for a product
};

/// Throws Fault::usage naming the argument.
Options parse_options(const std::vector<std::string>& arguments);

const char* usage();

}  // namespace cloze::bench
