#include "engine/files/atomic_folder.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <exception>
#include <fcntl.h>
#include <set>
#include <utility>

#include "engine/files/mapped_file.h"

namespace cloze {

namespace {

constexpr std::string_view kFilesKey = "files";
constexpr std::string_view kSealKey = "manifest_xxh3";
constexpr std::string_view kSealFront = ",\n  \"manifest_xxh3\": \"";
constexpr std::string_view kSealBack = "\"\n}\n";
constexpr std::string_view kNoSeal = "0000000000000000";
constexpr std::int64_t kManifestLimit = 64 << 20;
// Where the file system has no locks, a leftover is known by its age.
constexpr std::int64_t kDeadAfterSeconds = 24 * 3600;
constexpr int kMostLinks = 40;  // as Linux follows

std::string unchanged(const std::filesystem::path& folder) {
    return "nothing at " + folder.string() + " was changed";
}

bool is_plain_name(std::string_view name) {
    return !name.empty() && name != "." && name != ".." && name.find('/') == std::string_view::npos &&
           name.find('\0') == std::string_view::npos;
}

/// The folder that is made for `path`: a symbolic link cannot be replaced by a folder, what it leads to can.
std::filesystem::path followed(const std::filesystem::path& path) {
    std::filesystem::path result = without_trailing_slash(path);
    std::string target;
    int links = 0;
    while (system_calls().read_link(result.c_str(), target) == 0) {
        if (++links > kMostLinks) fail_system("look at", path, ELOOP, unchanged(path));
        result = without_trailing_slash(folder_of(result) / target);
    }
    if (errno != EINVAL && errno != ENOENT) fail_system("look at", result, errno, unchanged(path));
    require(is_plain_name(result.filename().string()), "output folder '", path.string(),
            "' has no name of its own: give the path of a folder to be made");
    return result;
}

FileStatus status_of(const std::filesystem::path& folder, const Descriptor& descriptor) {
    FileStatus status;
    if (system_calls().status(descriptor.number(), status) < 0) {
        fail_system("look at", folder, errno, unchanged(folder));
    }
    return status;
}

/// Ends at once what would fail at the last step, after all the work.
void require_exchangeable(const std::filesystem::path& folder) {
    const auto open = [](const std::filesystem::path& path) {
        return Descriptor(system_calls().open(path.c_str(), O_PATH | O_DIRECTORY, 0));
    };
    const Descriptor present = open(folder);
    if (!present && errno == ENOENT) return;
    if (!present) fail_system("use as a folder", folder, errno, unchanged(folder));
    const std::filesystem::path parent = folder_of(folder);
    const Descriptor around = open(parent);
    if (!around) fail_system("use as a folder", parent, errno, unchanged(folder));
    const FileStatus here = status_of(folder, present), above = status_of(parent, around);
    require(here.device == above.device && here.mount == above.mount, "output folder ", folder.string(),
            ": a file system is mounted there, so it cannot be replaced as a whole; give a folder inside it");
}

}  // namespace

AtomicFolder::AtomicFolder(const std::filesystem::path& final_folder)
    : final_(followed(final_folder)), consequence_(unchanged(final_)) {
    make_folders(final_.parent_path(), consequence_);
    require_exchangeable(final_);
    temporary_ = name_beside(final_, kWritingMark);
    if (system_calls().make_folder(temporary_.c_str()) < 0) {
        fail_system("make the folder", temporary_, errno, consequence_);
    }
    lock_ = Descriptor(system_calls().open(temporary_.c_str(), O_RDONLY | O_DIRECTORY, 0));
    // A file system without locks does not stop a save: a leftover of it is recognised by its age instead.
    if (lock_) system_calls().lock(lock_.number());
}

AtomicFolder::~AtomicFolder() {
    if (finished_) return;
    try {
        remove_tree(temporary_);
    } catch (const std::exception&) {
        // The reason for being here is told already; what is left has a temporary name and goes with the leftovers.
    }
}

OutputFile AtomicFolder::create(const std::string& name) {
    require(is_plain_name(name), "file '", name, "' of ", final_.string(), ": give a bare file name");
    return OutputFile(temporary_ / name, consequence_);
}

const FileRecord& AtomicFolder::add(OutputFile&& file) {
    require(file.path().parent_path() == temporary_, "file ", file.path().string(), " was not created by the folder ",
            temporary_.string());
    const FileChecksum checksum = file.finish();
    files_.push_back({file.path().filename().string(), checksum.bytes, checksum.xxh3});
    return files_.back();
}

const FileRecord& AtomicFolder::add(const std::string& name, std::string_view contents) {
    OutputFile file = create(name);
    file.write(contents);
    return add(std::move(file));
}

void AtomicFolder::commit(const std::string& manifest_name, const Json& manifest) {
    require(!finished_, "folder ", final_.string(), ": committed twice");
    OutputFile file = create(manifest_name);
    file.write(manifest_text(manifest, files_));
    file.finish();
    sync_folder(temporary_, consequence_);
    publish();
}

void AtomicFolder::publish() {
    // rename() alone gives a new name, or takes the place of an empty folder.
    std::filesystem::path old;
    if (system_calls().rename(temporary_.c_str(), final_.c_str()) < 0) {
        if (errno != ENOTEMPTY && errno != EEXIST) fail_system("put in place", final_, errno, consequence_);
        old = swap_in();
    }
    finished_ = true;
    lock_.close();
    sync_folder(folder_of(final_), final_.string() + " is in place and whole, but a power failure may undo its name");
    try {
        if (!old.empty()) remove_tree(old);
    } catch (const Error&) {
        // The save is done; the old folder has a temporary name and goes with the leftovers.
    }
}

/// Puts the new folder at the final name; returns where the old one is now.
std::filesystem::path AtomicFolder::swap_in() {
    if (system_calls().exchange(temporary_.c_str(), final_.c_str()) == 0) return temporary_;
    if (errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP) return move_aside_and_in();
    fail_system("put in place", final_, errno, consequence_);
}

std::filesystem::path AtomicFolder::move_aside_and_in() {
    const std::filesystem::path aside = name_beside(final_, kAsideMark);
    if (system_calls().rename(final_.c_str(), aside.c_str()) < 0) {
        fail_system("move aside", final_, errno, consequence_);
    }
    if (system_calls().rename(temporary_.c_str(), final_.c_str()) < 0) {
        const int error_number = errno;
        const bool is_back = system_calls().rename(aside.c_str(), final_.c_str()) == 0;
        fail_system("put in place", final_, error_number,
                    is_back ? consequence_ : "the folder that was there is whole, at " + aside.string());
    }
    return aside;
}

std::string manifest_text(const Json& manifest, const std::vector<FileRecord>& files) {
    require(manifest.is_object(), "manifest: expected a JSON object, found ", manifest.type_name());
    require(!manifest.contains(kFilesKey) && !manifest.contains(kSealKey), "manifest: the keys '", kFilesKey, "' and '",
            kSealKey, "' are not for the caller");
    Json complete = manifest;
    Json& list = complete[std::string(kFilesKey)] = Json::array();
    for (const FileRecord& file : files) {
        list.push_back({{"name", file.name}, {"bytes", file.bytes}, {"xxh3", checksum_text(file.xxh3)}});
    }
    std::string result = json_text(complete);
    result.resize(result.size() - std::string_view("\n}\n").size());
    result.append(kSealFront).append(kNoSeal).append(kSealBack);
    result.replace(result.size() - kSealBack.size() - 16, 16, checksum_text(xxh3(result)));
    return result;
}

namespace {

/// Checks the closing checksum over the very bytes, and what stands around it.
void check_seal(const std::string& contents, const std::string& file) {
    constexpr std::string_view remedy = "it is damaged; this folder is not to be used";
    const std::size_t tail = kSealFront.size() + 16 + kSealBack.size();
    require_input(contents.size() > tail && contents.ends_with(kSealBack) &&
                      contents.compare(contents.size() - tail, kSealFront.size(), kSealFront) == 0,
                  file, ": does not end with its checksum: ", remedy);
    const std::size_t digits = contents.size() - kSealBack.size() - 16;
    const auto written = parse_checksum(std::string_view(contents).substr(digits, 16));
    std::string unsealed = contents;
    unsealed.replace(digits, 16, kNoSeal);
    require_input(written && *written == xxh3(unsealed), file, ": its checksum does not match its contents: ", remedy);
}

}  // namespace

Manifest read_manifest(const std::filesystem::path& folder, const std::string& manifest_name) {
    const std::filesystem::path path = folder / manifest_name;
    if (!Descriptor(system_calls().open(path.c_str(), O_PATH, 0)) && (errno == ENOENT || errno == ENOTDIR)) {
        fail(Fault::input, folder.string(), ": has no ", manifest_name,
             "; it is no finished folder: give another one, or make it again");
    }
    const std::string contents = read_file(path, kManifestLimit);
    check_seal(contents, path.string());

    Manifest manifest{parse_json(contents, path.string()), {}};
    for (const JsonObject& entry :
         JsonObject(manifest.content, path.string()).require_objects(std::string(kFilesKey))) {
        FileRecord file;
        file.name = entry.require<std::string>("name");
        if (!is_plain_name(file.name)) entry.refuse("name", "'" + file.name + "' is not a bare file name");
        file.bytes = entry.require_integer("bytes", 0, std::numeric_limits<std::int64_t>::max());
        const auto checksum = parse_checksum(entry.require<std::string>("xxh3"));
        if (!checksum) entry.refuse("xxh3", "not 16 hexadecimal digits");
        file.xxh3 = *checksum;
        manifest.files.push_back(std::move(file));
    }
    return manifest;
}

namespace {

/// Empty, or what is wrong.
std::string damage_of(const std::filesystem::path& path, const FileRecord& file) {
    const Descriptor descriptor(system_calls().open(path.c_str(), O_RDONLY, 0));
    if (!descriptor && errno == ENOENT) return "missing";
    FileStatus status;
    if (descriptor && system_calls().status(descriptor.number(), status) == 0 && status.bytes != file.bytes) {
        return text("has ", status.bytes, " bytes, ", file.bytes, " were written",
                    status.bytes < file.bytes ? " (truncated)" : "");
    }
    try {
        const FileChecksum found = checksum_of_file(path);
        if (found.xxh3 == file.xxh3 && found.bytes == file.bytes) return "";
        return text("has the checksum ", checksum_text(found.xxh3), ", ", checksum_text(file.xxh3), " was written");
    } catch (const Error& error) {
        return error.what();
    }
}

}  // namespace

std::vector<std::string> find_damage(const std::filesystem::path& folder, const std::vector<FileRecord>& files) {
    std::vector<std::string> damages;
    for (const FileRecord& file : files) {
        const std::string damage = damage_of(folder / file.name, file);
        if (!damage.empty()) damages.push_back(file.name + ": " + damage);
    }
    return damages;
}

void verify_folder(const std::filesystem::path& folder, const std::vector<FileRecord>& files) {
    const std::vector<std::string> damages = find_damage(folder, files);
    if (damages.empty()) return;
    std::string all;
    for (const std::string& damage : damages) all += (all.empty() ? "" : "; ") + damage;
    fail(Fault::input, folder.string(), ": is damaged: ", all, "; use another one, or copy it again");
}

namespace {

/// True when no living process writes at `path`: its lock is free, or there are no locks and nobody touched it for
/// long.
bool is_dead(const std::filesystem::path& path) {
    const Descriptor descriptor(system_calls().open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0));
    if (!descriptor) return false;
    if (system_calls().lock(descriptor.number()) == 0) return true;
    if (errno == EWOULDBLOCK) return false;
    FileStatus status;
    const std::int64_t now =
        std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
    return system_calls().status(descriptor.number(), status) == 0 && status.modified_seconds < now - kDeadAfterSeconds;
}

/// Of the folder and the files named `of`, or of all when it is empty.
std::vector<std::string> clear(const std::filesystem::path& parent, std::string_view of) {
    const auto front_of = [of](const std::string& name, std::string_view mark) {
        const std::string_view front = name_before(name, mark);
        return of.empty() || front == of ? front : std::string_view{};
    };
    std::vector<std::string> done;
    std::vector<std::string> names;
    if (system_calls().list_folder(parent.c_str(), names) < 0) {
        if (errno == ENOENT) return done;
        fail_system("list", parent, errno);
    }
    // As long as NAME is missing, NAME.old-* is its last good contents.
    std::set<std::string> present(names.begin(), names.end());
    for (const std::string& name : names) {
        const std::string final_name(front_of(name, kAsideMark));
        if (final_name.empty()) continue;
        const std::filesystem::path aside = parent / name, final_folder = parent / final_name;
        if (!present.insert(final_name).second) {
            remove_tree(aside);
            done.push_back(text("removed ", aside.string(), ", which was replaced"));
        } else {
            if (system_calls().rename(aside.c_str(), final_folder.c_str()) < 0) fail_system("put back", aside, errno);
            done.push_back(text("put ", final_folder.string(), " back, whose replacement was interrupted"));
        }
    }
    for (const std::string& name : names) {
        if (front_of(name, kWritingMark).empty() || !is_dead(parent / name)) continue;
        remove_tree(parent / name);
        done.push_back(text("removed ", (parent / name).string(), ", which an interrupted run left"));
    }
    return done;
}

}  // namespace

std::vector<std::string> remove_leftovers(const std::filesystem::path& parent) {
    return clear(parent, {});
}

std::vector<std::string> remove_leftovers_of(const std::filesystem::path& final_folder) {
    const std::filesystem::path folder = followed(final_folder);
    return clear(folder_of(folder), folder.filename().string());
}

}  // namespace cloze
