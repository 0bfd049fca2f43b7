// A picture of the kernels under the roofs of the device, as SVG: arithmetic intensity against FLOP/s, both
// logarithmic. Tested by tests/benchmarks/bench_test.py.
#pragma once

#include <string>

#include "benchmarks/bench/report.h"

namespace cloze::bench {

/// One dot a kernel, at the largest shape in the report; hollow and on the roof where it was not measured.
std::string roofline_svg(const Report& report);

}  // namespace cloze::bench
