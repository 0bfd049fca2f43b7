#include "kernels/core/named_range.h"

#include "kernels/core/device_calls.h"

namespace cloze {

thread_local const char* NamedRange::current_ = "";

NamedRange::NamedRange(const char* name) : outer_(current_) {
    current_ = name;
    device_calls::open_range(name);
}

NamedRange::~NamedRange() {
    device_calls::close_range();
    current_ = outer_;
}

}  // namespace cloze
