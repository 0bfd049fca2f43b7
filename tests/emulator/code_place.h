// Places in the kernels' machine code, as 32-bit offsets from the executable's start; their file and line are looked up
// only for reports.
#pragma once

#include <cstdint>
#include <string>

namespace cloze::emulated {

std::uint32_t code_offset(const void* return_address);

/// "kernels/bias_gelu.cu:71", by addr2line; the offset itself where there is no addr2line.
std::string code_place(std::uint32_t offset);

/// True for constants of the executable: tables that a kernel may read.
bool is_static_data(const void* address);

}  // namespace cloze::emulated
