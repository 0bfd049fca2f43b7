#include "engine/device/device_profile.h"

#include <catch2/catch.hpp>
#include <set>

#include "kernels/core/error.h"

using namespace cloze;

TEST_CASE("profiles are found by card and by the driver's name, and by nothing like them") {
    std::set<std::string> names;
    for (const DeviceProfile& profile : device_profiles()) {
        INFO(profile.card);
        CHECK(profile_of_card(profile.card).card == profile.card);
        for (const std::string& name : profile.names) {
            CHECK(names.insert(name).second);
            REQUIRE(profile_of_device(name));
            CHECK(profile_of_device(name)->card == profile.card);
        }
    }
    CHECK(!profile_of_device("emulated device"));
    CHECK(!profile_of_device("NVIDIA H200 NVL"));
    CHECK_THROWS_WITH(profile_of_card("h2000"), Catch::Contains("h200, h100") && Catch::Contains("--memory-gib"));
}

TEST_CASE("a profile's speeds are below the vendor's, its memory below the card's") {
    for (const DeviceProfile& profile : device_profiles()) {
        INFO(profile.card);
        CHECK(profile.product_flops_per_second < profile.stated_flops_per_second);
        CHECK(profile.product_flops_per_second > 0.5 * profile.stated_flops_per_second);
        CHECK(profile.copy_bytes_per_second < profile.stated_bytes_per_second);
        CHECK(profile.usable_bytes() < profile.memory_bytes);
        CHECK(profile.usable_bytes() > profile.memory_bytes / 2);
        CHECK(profile.measured == (profile.card == "h200"));
    }
}
