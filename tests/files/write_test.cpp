#include "engine/files/write.h"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

#include "engine/files/mapped_file.h"
#include "engine/files/temporary_name.h"
#include "tests/files/expect_error.h"
#include "tests/files/faulty_calls.h"
#include "tests/support.h"

using namespace cloze;
using cloze::test::expect_error;
namespace fs = std::filesystem;

namespace {

std::size_t entries(const fs::path& folder) {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

}  // namespace

TEST_CASE("an output file holds what was written, in pieces of any size, and knows its checksum", "[files]") {
    const test::TemporaryFolder folder;
    std::string contents(11 << 20, ' ');
    for (std::size_t i = 0; i < contents.size(); ++i) contents[i] = static_cast<char>(i * 31 + (i >> 12));
    int number = 0;
    for (const std::size_t piece :
         {std::size_t{1000}, std::size_t{1 << 20}, (std::size_t{1} << 20) + 1, std::size_t{9 << 20}, contents.size()}) {
        const fs::path path = folder.path() / std::to_string(number++);
        OutputFile file(path);
        for (std::size_t at = 0; at < contents.size(); at += piece) {
            file.write(std::string_view(contents).substr(at, piece));
        }
        CHECK(file.bytes_written() == static_cast<std::int64_t>(contents.size()));
        const FileChecksum checksum = file.finish();
        CHECK(checksum.bytes == static_cast<std::int64_t>(contents.size()));
        CHECK(checksum.xxh3 == xxh3(contents));
        CHECK(test::read_file(path) == contents);
        expect_error(Fault::usage, {"used after its end"}, [&] { file.write("more"); });
    }
}

TEST_CASE("an output file that is not finished is gone, and an existing one is not overwritten", "[files]") {
    const test::TemporaryFolder folder;
    const fs::path path = folder.path() / "file";
    {
        OutputFile file(path);
        file.write("half");
        OutputFile moved(std::move(file));
        moved.write("more");
    }
    CHECK_FALSE(fs::exists(path));
    CHECK(OutputFile(path).finish().bytes == 0);
    expect_error(Fault::io, {"cannot create", path.string(), "exists", "the plan is kept"},
                 [&] { OutputFile(path, "the plan is kept"); });
    CHECK(fs::exists(path));
}

TEST_CASE("write_file_atomic replaces a file, makes folders on the way and leaves nothing else", "[files]") {
    const test::TemporaryFolder folder;
    const fs::path path = folder.path() / "a" / "b" / "file.txt";
    write_file_atomic(path, "first");
    CHECK(test::read_file(path) == "first");
    write_file_atomic(path, "");
    CHECK(test::read_file(path).empty());
    write_file_atomic(path, "third");
    CHECK(test::read_file(path) == "third");
    CHECK(entries(path.parent_path()) == 1);
    expect_error(Fault::io, {"cannot replace", (folder.path() / "a").string(), "is unchanged"},
                 [&] { write_file_atomic(folder.path() / "a", "x"); });
    CHECK(entries(folder.path()) == 1);
    expect_error(Fault::io, {"file.txt", "a part of the path is a file"},
                 [&] { write_file_atomic(path / "inside", "x"); });
}

TEST_CASE("try_write says before the work what write_file_atomic would say after it, and leaves nothing", "[files]") {
    const test::TemporaryFolder folder;
    const fs::path path = folder.path() / "a" / "file.txt";
    try_write(path);
    CHECK(entries(path.parent_path()) == 0);
    write_file_atomic(path, "first");
    try_write(path);
    CHECK(test::read_file(path) == "first");
    CHECK(entries(path.parent_path()) == 1);
    expect_error(Fault::usage, {"this is a folder; give the name of a file"}, [&] { try_write(folder.path() / "a"); });
    expect_error(Fault::io, {"a part of the path is a file"}, [&] { try_write(path / "inside"); });
    struct ReadOnly : SystemCalls {
        int open(const char* name, int flags, unsigned mode) override {
            if ((flags & O_CREAT) == 0) return SystemCalls::open(name, flags, mode);
            errno = EROFS;
            return -1;
        }
    } calls;
    const SystemCallsReplacement replacement(calls);
    expect_error(Fault::io, {"cannot create", path.string(), "is read-only", "is unchanged"}, [&] { try_write(path); });
}

TEST_CASE("write_file_atomic leaves the old or the new contents at every failing or last call", "[files]") {
    using test::FaultMode;
    for (const FaultMode mode : {FaultMode::fail, FaultMode::short_write, FaultMode::fill_disk, FaultMode::crash_before,
                                 FaultMode::crash_after}) {
        for (int at = 0;; ++at) {
            const test::TemporaryFolder folder;
            const fs::path path = folder.path() / "file";
            test::write_file(path, "old contents");
            test::FaultyCalls calls({.at = at, .mode = mode, .error_number = ENOSPC});
            bool failed = false;
            {
                const SystemCallsReplacement replacement(calls);
                try {
                    write_file_atomic(path, "new contents");
                } catch (const Error& error) {
                    failed = true;
                    CHECK(error.fault() == Fault::io);
                    CHECK_THAT(error.what(), Catch::Matchers::Contains(folder.path().string()));
                }
            }
            const std::string contents = test::read_file(path);
            CHECK((contents == "old contents" || contents == "new contents"));
            if (!failed) CHECK(contents == "new contents");
            if (!calls.crashed()) CHECK(entries(folder.path()) == 1);
            if (!calls.struck()) {
                CHECK_FALSE(failed);
                CHECK(calls.calls() >= 8);
                break;
            }
        }
    }
}

TEST_CASE("a line log grows by whole lines and drops an incomplete last one", "[files]") {
    const test::TemporaryFolder folder;
    const fs::path path = folder.path() / "metrics.jsonl";
    {
        LineLog log(path);
        log.append("{\"step\": 1}");
        log.append("");
        log.sync();
    }
    CHECK(test::read_file(path) == "{\"step\": 1}\n\n");
    for (const std::size_t tail : {std::size_t{0}, std::size_t{1}, std::size_t{70000}, std::size_t{200001}}) {
        test::write_file(path, "one\ntwo\n" + std::string(tail, 'x'));
        LineLog(path).append("three");
        CHECK(test::read_file(path) == "one\ntwo\nthree\n");
        test::write_file(path, std::string(tail, 'x'));
        LineLog(path).append("only");
        CHECK(test::read_file(path) == "only\n");
    }
    LineLog log(path);
    expect_error(Fault::usage, {"metrics.jsonl", "holds a line end"}, [&] { log.append("a\nb"); });
    expect_error(Fault::io, {"absent", "check the path"}, [&] { LineLog(folder.path() / "absent" / "log"); });
}

TEST_CASE("a failing append to a line log leaves whole lines", "[files]") {
    using test::FaultMode;
    for (const FaultMode mode : {FaultMode::fail, FaultMode::short_write, FaultMode::fill_disk, FaultMode::crash_before,
                                 FaultMode::crash_after}) {
        for (int at = 0;; ++at) {
            const test::TemporaryFolder folder;
            const fs::path path = folder.path() / "log";
            test::write_file(path, "one\ncut");
            test::FaultyCalls calls({.at = at, .mode = mode, .error_number = ENOSPC});
            {
                const SystemCallsReplacement replacement(calls);
                try {
                    LineLog log(path);
                    log.append("second line");
                    log.append("third line");
                } catch (const Error& error) {
                    CHECK(error.fault() == Fault::io);
                }
            }
            std::string all;
            for (const std::string& line : read_last_lines(path, 10)) all += line + "|";
            CHECK((all == "one|" || all == "one|second line|" || all == "one|second line|third line|"));
            if (!calls.struck()) {
                CHECK(all == "one|second line|third line|");
                break;
            }
        }
    }
}

TEST_CASE("read_last_lines gives the last complete lines, oldest first", "[files]") {
    const test::TemporaryFolder folder;
    const fs::path path = folder.path() / "log";
    using Lines = std::vector<std::string>;
    CHECK(read_last_lines(path, 3).empty());
    test::write_file(path, "");
    CHECK(read_last_lines(path, 3).empty());
    test::write_file(path, "incomplete");
    CHECK(read_last_lines(path, 3).empty());
    test::write_file(path, "a\n\nc\nincomplete");
    CHECK(read_last_lines(path, 0).empty());
    CHECK(read_last_lines(path, 1) == Lines{"c"});
    CHECK(read_last_lines(path, 2) == Lines{"", "c"});
    CHECK(read_last_lines(path, 3) == Lines{"a", "", "c"});
    CHECK(read_last_lines(path, 1000) == Lines{"a", "", "c"});
    std::string many;
    for (int i = 0; i < 30000; ++i) many += "line " + std::to_string(i) + "\n";
    test::write_file(path, many);
    const Lines last = read_last_lines(path, 20000);
    REQUIRE(last.size() == 20000);
    CHECK(last.front() == "line 10000");
    CHECK(last.back() == "line 29999");
}

TEST_CASE("free space is asked of the nearest folder that exists", "[files]") {
    const test::TemporaryFolder folder;
    CHECK(free_space(folder.path()) > 0);
    CHECK(free_space(folder.path() / "not" / "yet" / "here/") > 0);
    CHECK(free_space("neither-this") > 0);
    CHECK(free_space("/") >= 0);
}

TEST_CASE("remove_tree removes everything in a folder and follows no link", "[files]") {
    const test::TemporaryFolder folder;
    test::write_file(folder.path() / "kept" / "file", "x");
    test::write_file(folder.path() / "tree" / "a" / "b" / "file", "x");
    fs::create_directory_symlink(folder.path() / "kept", folder.path() / "tree" / "link");
    remove_tree(folder.path() / "tree");
    CHECK_FALSE(fs::exists(folder.path() / "tree"));
    CHECK(fs::exists(folder.path() / "kept" / "file"));
    remove_tree(folder.path() / "tree");
    remove_tree(folder.path() / "kept" / "file");
    CHECK(fs::is_empty(folder.path() / "kept"));
}

TEST_CASE("temporary names are recognised and lie beside the path", "[files]") {
    const fs::path path = without_trailing_slash("/data/out/");
    CHECK(path == "/data/out");
    CHECK(without_trailing_slash("/") == "/");
    CHECK(without_trailing_slash("out") == "out");
    CHECK(folder_of("out") == ".");
    const fs::path writing = name_beside(path, kWritingMark);
    CHECK(writing.parent_path() == "/data");
    CHECK(writing != name_beside(path, kWritingMark));
    CHECK(is_temporary_name(writing.filename().string()));
    CHECK(name_before(writing.filename().string(), kWritingMark) == "out");
    CHECK(is_temporary_name(name_beside(path, kAsideMark).filename().string()));
    for (const char* name : {"out", "out.tmp", "out.tmp-", "out.tmp-123", ".tmp-0123456789abcdef",
                             "out.tmp-0123456789ABCDEF", "out.tmp-0123456789abcdef.txt", "out.new-0123456789abcdef"}) {
        CHECK_FALSE(is_temporary_name(name));
    }
}
