// A graph: work that the host recorded once and starts again with one call, at the same addresses with other contents.
// Saves what a launch costs the host, which small kernels would wait for.
//
//   Graph forward(stream, [&] { encoder_forward(pass, activations); });   // records, runs nothing
//   forward.launch(stream);
//
// Tested by tests/kernels/device/memory_test.cpp.
#pragma once

#include <functional>

#include "kernels/core/stream.h"

namespace cloze {

class Graph {
public:
    Graph() = default;
    /// Calls `work` once; what it gives to `stream` becomes the graph. `work` must not wait for the device, and what it
    /// refers to must live as long as the graph: the emulator, which records nothing, calls it at each launch.
    Graph(Stream stream, const std::function<void()>& work);
    ~Graph();
    Graph(Graph&& other) noexcept : handle_(other.handle_) { other.handle_ = nullptr; }
    Graph& operator=(Graph&& other) noexcept;

    explicit operator bool() const { return handle_ != nullptr; }
    void launch(Stream stream) const;

private:
    void* handle_ = nullptr;
};

}  // namespace cloze
