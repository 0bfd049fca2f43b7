// Stacks and switches of the emulated threads. Boost.Context's fcontext: about 30 ns a switch.
#pragma once

#include <cstddef>

namespace cloze::emulated {

/// A stack with a page below it that traps: overflow ends the process instead of damaging a neighbour.
struct Stack {
    char* low;
    std::size_t bytes;
};

/// Stack number `index` of the pool; made on first use, kept for ever.
Stack pooled_stack(int index);

/// One flow of control. Neither body nor fiber may be moved while it runs.
class Fiber {
public:
    /// The next resume() calls body(argument) on the stack. body never returns: it ends by suspend().
    void start(const Stack& stack, void (*body)(void*), void* argument);
    /// Runs the fiber until it suspends.
    void resume();
    /// From inside: goes back to who resumed it.
    void suspend();

private:
    void* own_ = nullptr;
    void* resumer_ = nullptr;
    void (*body_)(void*) = nullptr;
    void* argument_ = nullptr;
    friend struct FiberEntry;
};

}  // namespace cloze::emulated
