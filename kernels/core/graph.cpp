#include "kernels/core/graph.h"

#include <utility>

#include "kernels/core/device_calls.h"

namespace cloze {

Graph::Graph(Stream stream, const std::function<void()>& work) : handle_(device_calls::record_graph(stream, work)) {}

Graph::~Graph() {
    if (handle_ != nullptr) device_calls::destroy_graph(handle_);
}

Graph& Graph::operator=(Graph&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
}

void Graph::launch(Stream stream) const {
    device_calls::launch_graph(handle_, stream);
}

}  // namespace cloze
