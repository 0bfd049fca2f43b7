#include "engine/files/mapped_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include "engine/files/checksum.h"
#include "tests/files/expect_error.h"
#include "tests/files/faulty_calls.h"
#include "tests/support.h"

using namespace cloze;
using cloze::test::expect_error;

TEST_CASE("a mapped file shows the bytes of the file", "[files]") {
    const test::TemporaryFolder folder;
    for (const std::size_t size : {0u, 1u, 4095u, 4096u, 4097u, 100003u}) {
        std::string contents(size, ' ');
        for (std::size_t i = 0; i < size; ++i) contents[i] = static_cast<char>(i % 251);
        test::write_file(folder.path() / "file", contents);
        const MappedFile file(folder.path() / "file");
        CHECK(file.size() == static_cast<std::int64_t>(size));
        CHECK(file.text() == contents);
        CHECK(read_file(folder.path() / "file") == contents);
    }
}

TEST_CASE("a mapped file moves and keeps its bytes where they are", "[files]") {
    const test::TemporaryFolder folder;
    test::write_file(folder.path() / "file", "cloze");
    MappedFile first(folder.path() / "file");
    const auto* address = first.bytes().data();
    MappedFile second(std::move(first));
    CHECK(second.bytes().data() == address);
    CHECK(first.bytes().empty());
    first = std::move(second);
    CHECK(first.text() == "cloze");
    CHECK(second.size() == 0);
    CHECK(MappedFile().size() == 0);
}

TEST_CASE("what cannot be mapped or read is refused with its name and a remedy", "[files]") {
    const test::TemporaryFolder folder;
    const auto missing = folder.path() / "missing";
    expect_error(Fault::input, {"cannot open", missing.string(), "No such file", "check the path"},
                 [&] { MappedFile{missing}; });
    expect_error(Fault::input, {missing.string(), "check the path"}, [&] { read_file(missing); });
    expect_error(Fault::input, {folder.path().string(), "Is a directory", "give a file"},
                 [&] { MappedFile{folder.path()}; });
    expect_error(Fault::input, {"Is a directory"}, [&] { read_file(folder.path()); });
    test::write_file(folder.path() / "file", "12345");
    expect_error(Fault::input, {"a part of the path is a file"},
                 [&] { MappedFile{folder.path() / "file" / "inside"}; });
    REQUIRE(mkfifo((folder.path() / "pipe").c_str(), 0600) == 0);
    expect_error(Fault::input, {"pipe", "not a regular file", "copy it"}, [&] { MappedFile{folder.path() / "pipe"}; });
    expect_error(Fault::input, {"longer than the 4 bytes"}, [&] { read_file(folder.path() / "file", 4); });
    CHECK(read_file(folder.path() / "file", 5) == "12345");
}

TEST_CASE("an unreadable file says so", "[files]") {
    const test::TemporaryFolder folder;
    test::write_file(folder.path() / "file", "secret");
    const auto unreadable = [&](const auto& body) {
        test::FaultyCalls calls({.at = 0, .mode = test::FaultMode::fail, .error_number = EACCES});  // root may read all
        const SystemCallsReplacement replacement(calls);
        expect_error(Fault::io, {"file", "Permission denied", "check its permissions"}, body);
    };
    unreadable([&] { MappedFile{folder.path() / "file"}; });
    unreadable([&] { read_file(folder.path() / "file"); });
    unreadable([&] { checksum_of_file(folder.path() / "file"); });
}

TEST_CASE("a file shorter or longer than recorded is refused when it is opened", "[files]") {
    const test::TemporaryFolder folder;
    test::write_file(folder.path() / "file", "12345");
    CHECK(MappedFile(folder.path() / "file", 5).size() == 5);
    expect_error(Fault::input, {"has 5 bytes, 6 were expected", "truncated"},
                 [&] { MappedFile(folder.path() / "file", 6); });
    expect_error(Fault::input, {"has 5 bytes, 4 were expected", "not the one that was written"},
                 [&] { MappedFile(folder.path() / "file", 4); });
}

TEST_CASE("a file that shrinks while it is opened is refused", "[files]") {
    struct Shrinking : SystemCalls {
        int status(int descriptor, FileStatus& status) override {
            const int result = SystemCalls::status(descriptor, status);
            status.bytes -= asked++;
            return result;
        }
        int asked = 0;
    } calls;
    const test::TemporaryFolder folder;
    test::write_file(folder.path() / "file", "12345");
    const SystemCallsReplacement replacement(calls);
    expect_error(Fault::io, {"its size changes (5 bytes, then 4)"}, [&] { MappedFile{folder.path() / "file"}; });
}

TEST_CASE("every failing call of a map or a read is an error, not a wrong result", "[files]") {
    const test::TemporaryFolder folder;
    test::write_file(folder.path() / "file", "12345");
    for (int at = 0;; ++at) {
        test::FaultyCalls calls({.at = at, .mode = test::FaultMode::fail, .error_number = EIO});
        const SystemCallsReplacement replacement(calls);
        std::string text = "12345";
        try {
            text = MappedFile(folder.path() / "file").text();
            text += read_file(folder.path() / "file");
        } catch (const Error& error) {
            CHECK(error.fault() == Fault::io);
            continue;
        }
        CHECK(text == "1234512345");
        if (!calls.struck()) break;
    }
}

TEST_CASE("read_file reads files that do not tell their size", "[files]") {
    CHECK(read_file("/proc/self/status").find("Name:") == 0);
    expect_error(Fault::input, {"/dev/zero", "longer than"}, [] { read_file("/dev/zero", 100000); });
}
