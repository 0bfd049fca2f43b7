// Permissions are tested as a user whom they stop: the tests may run as root, who reads everything.
#pragma once

#include <unistd.h>

namespace cloze::test {

/// While it lives, root is nobody; any other user stays who he is.
class Stranger {
public:
    Stranger() : user_(geteuid()), is_stranger_(user_ != 0 || seteuid(kNobody) == 0) {}
    ~Stranger() {
        if (user_ == 0 && is_stranger_) is_stranger_ = seteuid(user_) == 0;
    }
    Stranger(const Stranger&) = delete;
    Stranger& operator=(const Stranger&) = delete;

    /// False where root may not become another user: skip.
    explicit operator bool() const { return is_stranger_; }

private:
    static constexpr uid_t kNobody = 65534;
    uid_t user_;
    bool is_stranger_;
};

}  // namespace cloze::test
