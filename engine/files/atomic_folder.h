// A folder that exists completely or not at all: a checkpoint, a set of shards. Written under a temporary name beside
// its final one, every file brought to the disk, then a manifest with size and checksum of each file, then one rename.
// A folder whose manifest is missing or damaged does not exist for us.
//
// The manifest is a JSON object of the caller's, to which commit() adds
//   "files": [{"bytes": 123, "name": "model.safetensors", "xxh3": "0123456789abcdef"}, ...]
// and, as the last line, "manifest_xxh3": the checksum of the manifest's own bytes with these 16 digits set to 0.
//
// What a crash or a failed call leaves, at every point: the folder that was there before, or the new one, whole; and
// perhaps a temporary folder NAME.tmp-<16 hex digits>, which remove_leftovers() clears. Replacing an existing folder
// exchanges the two names in one step (Linux's RENAME_EXCHANGE), then removes the old one. A file system without
// exchange gets two renames with the old folder at NAME.old-<16 hex digits> in between, and remove_leftovers() puts it
// back if a crash fell exactly there.
//
// Cost: one pass over the bytes for the checksum, while they are written; fsync per file. Tested by
// tests/files/atomic_folder_test.cpp, tests/files/fault_test.cpp and tests/files/damage_test.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "engine/files/json.h"
#include "engine/files/temporary_name.h"
#include "engine/files/write.h"

namespace cloze {

/// One file of a finished folder.
struct FileRecord {
    std::string name;
    std::int64_t bytes = 0;
    std::uint64_t xxh3 = 0;
};

class AtomicFolder {
public:
    /// Makes the temporary folder (and the parents of `final_folder`). An existing folder of that name stays as it is
    /// until commit(). A symbolic link is followed: the folder it leads to is the one that is made. Refuses what
    /// commit() could not replace: a file, or a folder that a file system is mounted on.
    explicit AtomicFolder(const std::filesystem::path& final_folder);
    /// Without commit(): removes the temporary folder, as far as the system lets it.
    ~AtomicFolder();
    AtomicFolder(const AtomicFolder&) = delete;
    AtomicFolder& operator=(const AtomicFolder&) = delete;

    const std::filesystem::path& final_folder() const { return final_; }
    const std::filesystem::path& temporary_folder() const { return temporary_; }

    /// A file of the folder for streaming; hand it back to add().
    OutputFile create(const std::string& name);
    /// Finishes a streamed file and records it.
    const FileRecord& add(OutputFile&& file);
    /// A small file at once.
    const FileRecord& add(const std::string& name, std::string_view contents);
    const std::vector<FileRecord>& files() const { return files_; }

    /// Writes the manifest `name` and puts the folder in its place. When this throws, nothing at the final name has
    /// changed, with one exception that its message tells: the new folder is in place, whole, but its name may not
    /// survive a power failure.
    void commit(const std::string& manifest_name, const Json& manifest);

private:
    void publish();
    std::filesystem::path swap_in();
    std::filesystem::path move_aside_and_in();

    std::filesystem::path final_;
    std::filesystem::path temporary_;
    std::string consequence_;
    Descriptor lock_;  // held while this process writes: how others tell a live folder from a leftover
    std::vector<FileRecord> files_;
    bool finished_ = false;
};

/// "files" and the closing checksum added: the text commit() writes.
std::string manifest_text(const Json& manifest, const std::vector<FileRecord>& files);

struct Manifest {
    Json content;  // everything, "files" included
    std::vector<FileRecord> files;
};

/// Reads a manifest and checks it: its own checksum, every byte of it, and the form of "files". Throws Fault::input
/// when missing or damaged, Fault::io when unreadable, naming it. Does not look at the files: see verify_folder.
Manifest read_manifest(const std::filesystem::path& folder, const std::string& manifest_name);

/// What is wrong with the files of a folder, one line each ("model.safetensors: 1024 bytes, 2048 were written"):
/// missing, size, checksum, unreadable. Empty = all as written. Reads every byte.
std::vector<std::string> find_damage(const std::filesystem::path& folder, const std::vector<FileRecord>& files);

/// Throws Fault::input naming everything find_damage found.
void verify_folder(const std::filesystem::path& folder, const std::vector<FileRecord>& files);

/// Clears what dead runs left in `parent`: removes temporary folders and files that no living process holds, and puts a
/// folder back that was moved aside for a replacement that never came. Returns what it did, one line each. Call it when
/// this run alone owns `parent`.
std::vector<std::string> remove_leftovers(const std::filesystem::path& parent);

/// The same for what dead runs left of this one folder, whatever lies beside it.
std::vector<std::string> remove_leftovers_of(const std::filesystem::path& final_folder);

}  // namespace cloze
