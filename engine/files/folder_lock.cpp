#include "engine/files/folder_lock.h"

#include <cerrno>
#include <fcntl.h>

namespace cloze {

FolderLock::FolderLock(const std::filesystem::path& folder)
    : descriptor_(system_calls().open(folder.c_str(), O_RDONLY | O_DIRECTORY, 0)) {
    if (!descriptor_) fail_system("open the folder", folder, errno);
    if (system_calls().lock(descriptor_.number()) == 0 || errno != EWOULDBLOCK) return;
    fail(Fault::io, folder.string(),
         ": another process is writing there; wait for it, stop it, or choose another --output");
}

}  // namespace cloze
