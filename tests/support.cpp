#include "tests/support.h"

#define CATCH_CONFIG_EXTERNAL_INTERFACES  // listeners
#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <stdlib.h>
#include <utility>
#include <vector>

namespace cloze::test {

namespace fs = std::filesystem;

namespace {

std::vector<std::shared_ptr<const void>>& kept() {
    static std::vector<std::shared_ptr<const void>> objects;
    return objects;
}

struct Releaser : Catch::TestEventListenerBase {
    using TestEventListenerBase::TestEventListenerBase;
    void testCaseEnded(const Catch::TestCaseStats&) override { kept().clear(); }
};

CATCH_REGISTER_LISTENER(Releaser)

}  // namespace

void keep_until_case_ends(std::shared_ptr<const void> object) {
    kept().push_back(std::move(object));
}

void skip(const std::string& reason) {
    std::cout << "[skipped] " << reason << std::endl;
}

std::optional<fs::path> test_data() {
    const char* folder = std::getenv("CLOZE_TEST_DATA");
    if (folder == nullptr || !fs::is_directory(folder)) return std::nullopt;
    return fs::path(folder);
}

TemporaryFolder::TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "cloze-test-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder at " + name);
    path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

void write_file(const fs::path& file, const std::string& contents) {
    fs::create_directories(file.parent_path());
    std::ofstream out(file, std::ios::binary);
    out << contents;
    if (!out) throw std::runtime_error("cannot write " + file.string());
}

std::string read_file(const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    if (!in) throw std::runtime_error("cannot read " + file.string());
    std::ostringstream contents;
    contents << in.rdbuf();
    return contents.str();
}

}  // namespace cloze::test
