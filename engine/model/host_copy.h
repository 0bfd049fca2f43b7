// A flat buffer of parameters on the host, for files: the buffer itself where it lies there, else a copy. Tested by
// tests/train/trainer_test.cpp.
#pragma once

#include "engine/device/arena.h"
#include "engine/device/compute.h"
#include "engine/model/parameters.h"

namespace cloze {

class HostCopy {
public:
    /// Fetches the values of `view`, an f32 buffer of `compute`'s place; waits for the work that writes them.
    HostCopy(const ParameterView& view, const Compute& compute);
    /// For who writes every parameter anyway: nothing is fetched, a copy holds zeros, which the gaps between parameters
    /// keep.
    static HostCopy to_be_written(const ParameterView& view, const Compute& compute);

    ParameterView view() const { return here_; }
    /// Brings what view() holds now to where the original lies; returns when it is there.
    void send() const;

private:
    enum class Fetch : bool { no, yes };
    HostCopy(const ParameterView& view, const Compute& compute, Fetch fetch);

    ParameterView there_, here_;
    Compute compute_;
    HostBlock memory_;  // empty where here_ is there_
};

}  // namespace cloze
