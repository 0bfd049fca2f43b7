// Code of the host that a kernel of faults_test.cu calls: it is not instrumented, so nothing it does is the kernel's.
#pragma once

namespace cloze::test {

/// In instrumented objects and in the others: each must call its own copy.
__attribute__((noipa)) inline float read_inline(const float& value) {
    return value;
}

/// read_inline() by the host.
float read_in_host_code(const float& value);

/// Runs `body`, which may be instrumented, in another thread of the host.
void run_beside(void (*body)());

}  // namespace cloze::test
