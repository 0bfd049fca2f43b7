// What g++ -fsanitize=thread calls before each plain load and store of a kernel, and -fsanitize=bounds-strict at an
// index outside of an array in registers. No sanitizer is linked: these are the callbacks. memcpy, memmove and memset,
// which g++ leaves as calls, are renamed in cuda_words.h.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/emulator/block.h"
#include "tests/emulator/code_place.h"
#include "tests/emulator/memory.h"

namespace {

using cloze::emulated::AccessKind;

// Host code that happens to be in an instrumented file needs no look, nor does the thread's own stack, which is its
// registers, but for what wgmma asks of these.
inline void on_access(const void* address, std::size_t bytes, int alignment, AccessKind kind, const void* from) {
    const cloze::emulated::Thread* thread = cloze::emulated::current_thread();
    if (thread == nullptr || thread->emulating > 0) return;
    const char* at = static_cast<const char*>(address);
    if (at < thread->stack.low || at >= thread->stack.low + thread->stack.bytes) {
        cloze::emulated::touch(address, static_cast<std::int64_t>(bytes), alignment, kind, from);
    } else if (thread->registers != nullptr) {
        cloze::emulated::note_register_access(address, bytes, kind, from);
    }
}

struct SourcePlace {
    const char* file;
    std::uint32_t line, column;
};

}  // namespace

#define CLOZE_ACCESS(bytes)                                                               \
    extern "C" void __tsan_read##bytes(void* address) {                                   \
        on_access(address, bytes, bytes, AccessKind::read, __builtin_return_address(0));  \
    }                                                                                     \
    extern "C" void __tsan_write##bytes(void* address) {                                  \
        on_access(address, bytes, bytes, AccessKind::write, __builtin_return_address(0)); \
    }

#define CLOZE_UNALIGNED_ACCESS(bytes)                                                 \
    extern "C" void __tsan_unaligned_read##bytes(void* address) {                     \
        on_access(address, bytes, 1, AccessKind::read, __builtin_return_address(0));  \
    }                                                                                 \
    extern "C" void __tsan_unaligned_write##bytes(void* address) {                    \
        on_access(address, bytes, 1, AccessKind::write, __builtin_return_address(0)); \
    }

CLOZE_ACCESS(1)
CLOZE_ACCESS(2)
CLOZE_ACCESS(4)
CLOZE_ACCESS(8)
CLOZE_ACCESS(16)
CLOZE_UNALIGNED_ACCESS(2)
CLOZE_UNALIGNED_ACCESS(4)
CLOZE_UNALIGNED_ACCESS(8)
CLOZE_UNALIGNED_ACCESS(16)

extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_read_range(void* address, std::size_t bytes) {
    on_access(address, bytes, 1, AccessKind::read, __builtin_return_address(0));
}
void __tsan_write_range(void* address, std::size_t bytes) {
    on_access(address, bytes, 1, AccessKind::write, __builtin_return_address(0));
}

/// `where` opens what g++ passes: a place in the source, which is that of an inline function where there is one.
void __ubsan_handle_out_of_bounds(const SourcePlace* where, std::uintptr_t index) {
    const void* from = __builtin_return_address(0);
    if (cloze::emulated::current_thread() == nullptr) {
        std::fprintf(stderr, "%s:%u: an index lies outside of an array\n", where->file, where->line);
        std::abort();
    }
    const cloze::emulated::Emulating emulating;
    std::string message = cloze::text("index ", static_cast<std::int64_t>(index), " lies outside of an array, at ",
                                      cloze::emulated::code_place(cloze::emulated::code_offset(from)), ", in ",
                                      *cloze::emulated::current_thread());
    cloze::emulated::end_launch(std::move(message));
}

void* cloze_kernel_memcpy(void* to, const void* from, std::size_t bytes) {
    on_access(from, bytes, 1, AccessKind::read, __builtin_return_address(0));
    on_access(to, bytes, 1, AccessKind::write, __builtin_return_address(0));
    return std::memcpy(to, from, bytes);
}
void* cloze_kernel_memmove(void* to, const void* from, std::size_t bytes) {
    on_access(from, bytes, 1, AccessKind::read, __builtin_return_address(0));
    on_access(to, bytes, 1, AccessKind::write, __builtin_return_address(0));
    return std::memmove(to, from, bytes);
}
void* cloze_kernel_memset(void* to, int value, std::size_t bytes) {
    on_access(to, bytes, 1, AccessKind::write, __builtin_return_address(0));
    return std::memset(to, value, bytes);
}

}  // extern "C"
