// One process at a time in a folder: a lock that ends with the process, however it ends. A file system without locks
// (NFS does not lock folders) lets everyone in: the lock is a help against a mistake, nothing that data depend on.
// Tested by tests/files/folder_lock_test.cpp.
#pragma once

#include <filesystem>

#include "engine/files/system_calls.h"

namespace cloze {

class FolderLock {
public:
    /// Throws Fault::io when another living process holds the folder, saying so.
    explicit FolderLock(const std::filesystem::path& folder);

private:
    Descriptor descriptor_;
};

}  // namespace cloze
