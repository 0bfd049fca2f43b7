// Signals that ask a run to stop: SIGTERM, SIGINT, SIGHUP and SIGUSR1 (Slurm's warning) set a flag, which the run asks
// for again and again. Tested by tests/tools/signals_test.cpp through the program.
#pragma once

namespace cloze {

/// Installs the handlers while it lives, and lets writing to a closed pipe fail instead of ending the process. One at a
/// time. A signal that was ignored before (nohup) stays ignored. Once one has come the handlers stay, so that another
/// does not end the process on its way out.
class StopSignals {
public:
    /// What Ctrl-C is answered with, the first time and later ones. String literals: a handler prints them.
    StopSignals(const char* answer, const char* answer_again);
    ~StopSignals();
    StopSignals(const StopSignals&) = delete;
    StopSignals& operator=(const StopSignals&) = delete;

    static bool requested();
    /// Of the signal that came last, as in "SIGTERM"; "none" before.
    static const char* name();
};

}  // namespace cloze
