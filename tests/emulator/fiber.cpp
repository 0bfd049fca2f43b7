#include "tests/emulator/fiber.h"

#include <boost/context/detail/fcontext.hpp>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

#include "kernels/core/error.h"

namespace cloze::emulated {

namespace fcontext = boost::context::detail;

namespace {

// Kernels hold arrays of registers on the stack, and reports format text there.
constexpr std::size_t kStackBytes = 128 * 1024;

}  // namespace

Stack pooled_stack(int index) {
    static std::vector<Stack> pool;
    const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    while (static_cast<int>(pool.size()) <= index) {
        void* memory = mmap(nullptr, kStackBytes + page, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED || mprotect(memory, page, PROT_NONE) != 0) {
            fail(Fault::internal, "emulator: no memory for stack ", index);
        }
        pool.push_back({static_cast<char*>(memory) + page, kStackBytes});
    }
    return pool[static_cast<std::size_t>(index)];
}

struct FiberEntry {
    static void enter(fcontext::transfer_t from) {
        Fiber* fiber = static_cast<Fiber*>(from.data);
        fiber->resumer_ = from.fctx;
        fiber->body_(fiber->argument_);
    }
};

void Fiber::start(const Stack& stack, void (*body)(void*), void* argument) {
    body_ = body;
    argument_ = argument;
#ifdef __SANITIZE_ADDRESS__
    // Whoever used the stack before did not return from its functions.
    __asan_unpoison_memory_region(stack.low, stack.bytes);
#endif
    own_ = fcontext::make_fcontext(stack.low + stack.bytes, stack.bytes, FiberEntry::enter);
}

void Fiber::resume() {
    own_ = fcontext::jump_fcontext(own_, this).fctx;
}

void Fiber::suspend() {
    resumer_ = fcontext::jump_fcontext(resumer_, nullptr).fctx;
}

}  // namespace cloze::emulated
