// A part of the work by name, for who looks at it: a range of NVTX, which Nsight shows, where the CUDA toolkit has its
// header, and the range of what a LaunchLog notes meanwhile. Costs nothing where nobody looks. Tested by
// tests/kernels/device/memory_test.cpp.
#pragma once

namespace cloze {

class NamedRange {
public:
    /// `name` is a literal.
    explicit NamedRange(const char* name);
    ~NamedRange();
    NamedRange(const NamedRange&) = delete;
    NamedRange& operator=(const NamedRange&) = delete;

    /// The innermost range of this thread; "" outside of all.
    static const char* current() { return current_; }

private:
    static thread_local const char* current_;
    const char* outer_;
};

}  // namespace cloze
