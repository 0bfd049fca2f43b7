#include "engine/files/atomic_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "tests/files/expect_error.h"
#include "tests/support.h"

using namespace cloze;
using cloze::test::expect_error;
namespace fs = std::filesystem;

namespace {

constexpr const char* kManifest = "training_state.json";

void save(const fs::path& folder, const std::string& contents) {
    AtomicFolder output(folder);
    OutputFile weights = output.create("weights");
    weights.write(contents);
    output.add(std::move(weights));
    output.add("config.json", "{}");
    output.commit(kManifest, {{"step", 12}, {"contents", contents}});
}

std::string saved(const fs::path& folder) {
    const Manifest manifest = read_manifest(folder, kManifest);
    verify_folder(folder, manifest.files);
    const std::string contents = test::read_file(folder / "weights");
    CHECK(manifest.content["contents"] == contents);
    return contents;
}

std::vector<std::string> names_in(const fs::path& folder) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("a folder appears at commit, whole, with a manifest of its files", "[files]") {
    const test::TemporaryFolder folder;
    const fs::path path = folder.path() / "run" / "checkpoint-12";
    {
        AtomicFolder output(path);
        CHECK(output.add("weights", "abc").xxh3 == xxh3("abc"));
        CHECK_FALSE(fs::exists(path));
        REQUIRE(names_in(path.parent_path()).size() == 1);
        CHECK(is_temporary_name(names_in(path.parent_path())[0]));
        output.commit(kManifest, {{"step", 12}});
        expect_error(Fault::usage, {"committed twice"}, [&] { output.commit(kManifest, {{"step", 12}}); });
    }
    CHECK(names_in(path.parent_path()) == Names{"checkpoint-12"});
    CHECK(names_in(path) == Names{kManifest, "weights"});
    const Manifest manifest = read_manifest(path, kManifest);
    CHECK(manifest.content["step"] == 12);
    REQUIRE(manifest.files.size() == 1);
    CHECK(manifest.files[0].name == "weights");
    CHECK(manifest.files[0].bytes == 3);
    CHECK(manifest.files[0].xxh3 == xxh3("abc"));
    CHECK(find_damage(path, manifest.files).empty());
}

TEST_CASE("a folder without commit leaves nothing", "[files]") {
    const test::TemporaryFolder folder;
    {
        AtomicFolder output(folder.path() / "out/");
        output.add("weights", "abc");
        const OutputFile open_file = output.create("more");
    }
    CHECK(names_in(folder.path()).empty());
}

TEST_CASE("an existing folder is replaced as a whole", "[files]") {
    const test::TemporaryFolder folder;
    const fs::path path = folder.path() / "out";
    save(path, "first");
    test::write_file(path / "stranger", "x");
    {
        AtomicFolder abandoned(path);
        abandoned.add("weights", "never");
    }
    CHECK(saved(path) == "first");
    save(path, "second");
    CHECK(saved(path) == "second");
    CHECK(names_in(path) == Names{"config.json", kManifest, "weights"});
    CHECK(names_in(folder.path()) == Names{"out"});
    fs::create_directory(folder.path() / "empty");
    save(folder.path() / "empty", "third");
    CHECK(saved(folder.path() / "empty") == "third");
}

TEST_CASE("a file in the place of the folder is kept and named", "[files]") {
    const test::TemporaryFolder folder;
    test::write_file(folder.path() / "out", "a file");
    expect_error(Fault::io, {"cannot use as a folder", (folder.path() / "out").string(), "nothing at", "was changed"},
                 [&] { AtomicFolder(folder.path() / "out"); });
    CHECK(test::read_file(folder.path() / "out") == "a file");
    CHECK(names_in(folder.path()) == Names{"out"});
    expect_error(Fault::io, {"a part of the path is a file"}, [&] { save(folder.path() / "out" / "deeper", "x"); });
    expect_error(Fault::usage, {"has no name of its own"}, [] { AtomicFolder("/"); });
    expect_error(Fault::usage, {"has no name of its own"}, [] { AtomicFolder(".."); });
    AtomicFolder output(folder.path() / "names");
    for (const char* name : {"", ".", "..", "a/b", "/etc/x"}) {
        expect_error(Fault::usage, {"give a bare file name"}, [&] { output.add(name, "x"); });
    }
    output.add("twice", "x");
    expect_error(Fault::io, {"twice", "it exists already"}, [&] { output.add("twice", "x"); });
    expect_error(Fault::usage, {"not for the caller"}, [&] { output.commit(kManifest, {{"files", 1}}); });
    expect_error(Fault::usage, {"expected a JSON object"}, [&] { output.commit(kManifest, Json::array()); });
}

TEST_CASE("a symbolic link stays, and the folder it leads to is made or replaced", "[files]") {
    const test::TemporaryFolder folder;
    const fs::path disk = folder.path() / "disk", link = folder.path() / "out";
    fs::create_directory(disk);
    fs::create_directory_symlink("disk/out", folder.path() / "middle");
    fs::create_directory_symlink(folder.path() / "middle", link);
    for (const char* contents : {"first", "second"}) {
        save(link / "", contents);
        CHECK(saved(link) == contents);
        CHECK(saved(disk / "out") == contents);
        CHECK(names_in(disk) == Names{"out"});
        CHECK(names_in(folder.path()) == Names{"disk", "middle", "out"});
        CHECK(fs::is_symlink(link));
    }
    fs::create_directory_symlink("circle", folder.path() / "circle");
    expect_error(Fault::io, {"circle", "go in a circle", "was changed"}, [&] { save(folder.path() / "circle", "x"); });
}

TEST_CASE("a folder that a file system is mounted on is refused before the work, not after it", "[files]") {
    struct Mounted : SystemCalls {
        explicit Mounted(std::uint64_t FileStatus::*field) : field_(field) {}
        int status(int descriptor, FileStatus& status) override {
            const int result = SystemCalls::status(descriptor, status);
            status.*field_ = asked_++;  // no two folders lie on one
            return result;
        }

    private:
        std::uint64_t FileStatus::*field_;
        std::uint64_t asked_ = 0;
    };
    Mounted calls(GENERATE(&FileStatus::device, &FileStatus::mount));
    const test::TemporaryFolder folder;
    fs::create_directory(folder.path() / "disk");
    {
        const SystemCallsReplacement replacement(calls);
        expect_error(Fault::usage, {(folder.path() / "disk").string(), "is mounted there", "give a folder inside it"},
                     [&] { AtomicFolder(folder.path() / "disk"); });
        save(folder.path() / "disk" / "out", "x");
    }
    CHECK(names_in(folder.path()) == Names{"disk"});
    CHECK(saved(folder.path() / "disk" / "out") == "x");
    expect_error(Fault::io, {"is mounted there", "inside it"}, [] { fail_system("put in place", "disk", EBUSY); });
    expect_error(Fault::io, {"another file system", "--output"}, [] { fail_system("move aside", "disk", EXDEV); });
}

TEST_CASE("every damaged file of a folder is named with what is wrong", "[files]") {
    const test::TemporaryFolder folder;
    const fs::path path = folder.path() / "out";
    save(path, "0123456789");
    const Manifest manifest = read_manifest(path, kManifest);
    test::write_file(path / "weights", "0123456780");
    expect_error(Fault::input, {path.string(), "is damaged", "weights: has the checksum", "use another one"},
                 [&] { verify_folder(path, manifest.files); });
    test::write_file(path / "weights", "012345678");
    fs::remove(path / "config.json");
    expect_error(Fault::input, {"weights: has 9 bytes, 10 were written (truncated)", "config.json: missing"},
                 [&] { verify_folder(path, manifest.files); });
    CHECK(find_damage(path, manifest.files).size() == 2);
    fs::create_directory(path / "config.json");
    CHECK(find_damage(path, manifest.files).size() == 2);
}

TEST_CASE("a manifest that is missing, cut, edited or hostile is refused", "[files]") {
    const test::TemporaryFolder folder;
    expect_error(Fault::input, {"has no training_state.json", "no finished folder"},
                 [&] { read_manifest(folder.path(), kManifest); });
    expect_error(Fault::input, {"has no training_state.json"},
                 [&] { read_manifest(folder.path() / "absent", kManifest); });
    const auto refuse = [&](const std::string& contents, const std::string& words) {
        test::write_file(folder.path() / kManifest, contents);
        expect_error(Fault::input, {(folder.path() / kManifest).string(), words},
                     [&] { read_manifest(folder.path(), kManifest); });
    };
    const std::string good = manifest_text({{"step", 12}}, {{"weights", 3, xxh3("abc")}});
    test::write_file(folder.path() / kManifest, good);
    CHECK(read_manifest(folder.path(), kManifest).files.size() == 1);
    refuse("", "does not end with its checksum");
    refuse("{}", "does not end with its checksum");
    refuse(good.substr(0, good.size() - 1), "does not end with its checksum");
    refuse(good + "\n", "does not end with its checksum");
    std::string edited = good;
    edited.replace(edited.find("12"), 2, "13");
    refuse(edited, "its checksum does not match");

    // Whoever can compute checksums can seal anything: the form is checked all the same.
    const auto sealed = [](std::string text) {
        text += ",\n  \"manifest_xxh3\": \"0000000000000000\"\n}\n";
        return text.replace(text.size() - 20, 16, checksum_text(xxh3(text)));
    };
    CHECK(sealed(good.substr(0, good.size() - 42)) == good);
    refuse(sealed("{\"files\": 1"), "expected an array");
    refuse(sealed("{\"step\": 1"), "key \"files\": missing");
    refuse(sealed("{\"files\": [1]"), "expected an object");
    refuse(sealed(R"({"files": [{"name": "../x", "bytes": 1, "xxh3": "0000000000000000"}])"), "not a bare file name");
    refuse(sealed(R"({"files": [{"name": "x", "bytes": -1, "xxh3": "0000000000000000"}])"), "not between");
    refuse(sealed(R"({"files": [{"name": "x", "bytes": 1, "xxh3": "0"}])"), "not 16 hexadecimal digits");
}

TEST_CASE("leftovers of dead runs are cleared, living ones are not", "[files]") {
    const test::TemporaryFolder folder;
    CHECK(remove_leftovers(folder.path() / "absent").empty());
    save(folder.path() / "out", "kept");
    test::write_file(folder.path() / "dead.tmp-0123456789abcdef" / "weights", "x");
    test::write_file(folder.path() / "file.tmp-0123456789abcdef", "x");
    test::write_file(folder.path() / "user.tmp-file", "x");
    AtomicFolder living(folder.path() / "living");
    living.add("weights", "x");
    const auto done = remove_leftovers(folder.path());
    REQUIRE(done.size() == 2);
    CHECK(done[0] ==
          "removed " + (folder.path() / "dead.tmp-0123456789abcdef").string() + ", which an interrupted run left");
    CHECK(names_in(folder.path()) == Names{living.temporary_folder().filename().string(), "out", "user.tmp-file"});
    living.commit(kManifest, Json::object());
    CHECK(remove_leftovers(folder.path()).empty());
    CHECK(saved(folder.path() / "out") == "kept");
}

TEST_CASE("a folder moved aside comes back when its replacement never came", "[files]") {
    const test::TemporaryFolder folder;
    const std::string aside = ".old-0123456789abcdef";
    for (const char* name : {"one", "two", "three"}) save(folder.path() / (name + aside), name);
    save(folder.path() / "two", "new");
    const auto done = remove_leftovers(folder.path());
    CHECK(done.size() == 3);
    CHECK(names_in(folder.path()) == Names{"one", "three", "two"});
    CHECK(saved(folder.path() / "one") == "one");
    CHECK(saved(folder.path() / "two") == "new");
    CHECK(saved(folder.path() / "three") == "three");
}

TEST_CASE("the leftovers of one folder are cleared alone", "[files]") {
    const test::TemporaryFolder folder;
    const std::string tail = "-0123456789abcdef";
    save(folder.path() / ("mine.old" + tail), "mine");
    for (const char* name : {"mine.tmp", "other.tmp", "other.old"}) fs::create_directory(folder.path() / (name + tail));
    fs::create_directory_symlink("mine", folder.path() / "link");
    CHECK(remove_leftovers_of(folder.path() / "link").size() == 2);
    CHECK(names_in(folder.path()) == Names{"link", "mine", "other.old" + tail, "other.tmp" + tail});
    CHECK(saved(folder.path() / "mine") == "mine");
    CHECK(remove_leftovers_of(folder.path() / "mine").empty());
    CHECK(remove_leftovers_of(folder.path() / "absent" / "mine").empty());
    expect_error(Fault::usage, {"has no name of its own"}, [] { remove_leftovers_of("/"); });
}
