// A small corpus of our own, and what the commands make of it, in a temporary folder: what most tests of the program
// start from.
#pragma once

#include <map>

#include "tests/tools/program.h"

namespace cloze::test {

/// `documents` short documents, a sentence a line, in words that predict each other; the same for the same arguments.
std::string small_corpus(int documents, unsigned seed = 1);

/// Every file below a folder with its bytes: to see that nothing changed.
std::map<std::string, std::string> contents_of(const std::filesystem::path& folder);

class Workshop {
public:
    Workshop();

    std::string path(const std::string& name) const { return (folder_.path() / name).string(); }

    /// text/, vocab.txt, dataset/ and model.json: a model of one layer.
    Workshop& with_vocabulary();
    Workshop& with_dataset();

    /// A run of the one-layer model on the dataset, with more arguments.
    std::vector<std::string> pretrain(const std::string& output, int steps,
                                      const std::vector<std::string>& more = {}) const;
    /// Runs it to the end and returns the folder of its last checkpoint.
    std::string train(const std::string& output, int steps, const std::vector<std::string>& more = {}) const;

private:
    TemporaryFolder folder_;
};

}  // namespace cloze::test
