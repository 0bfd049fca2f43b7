#include "engine/files/folder_lock.h"

#include <cerrno>
#include <memory>

#include "tests/files/expect_error.h"
#include "tests/files/faulty_calls.h"
#include "tests/support.h"

using namespace cloze;
using cloze::test::expect_error;

TEST_CASE("a locked folder admits no second writer until the first is gone", "[files]") {
    const test::TemporaryFolder folder;
    auto first = std::make_unique<FolderLock>(folder.path());
    expect_error(Fault::io, {folder.path().string(), "another process is writing there", "choose another --output"},
                 [&] { FolderLock(folder.path()); });
    first.reset();
    const FolderLock second(folder.path());
    expect_error(Fault::io, {"absent", "check the path"}, [&] { FolderLock(folder.path() / "absent"); });
}

TEST_CASE("a file system without locks stops nobody", "[files]") {
    const test::TemporaryFolder folder;
    for (const int error_number : {EBADF, ENOLCK, ENOSYS, EOPNOTSUPP, EINVAL}) {
        test::FaultyCalls calls({.at = 1, .mode = test::FaultMode::fail, .error_number = error_number});
        const SystemCallsReplacement replacement(calls);
        const FolderLock lock(folder.path());
        CHECK(calls.struck());
    }
}
