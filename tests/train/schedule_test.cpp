#include "engine/train/schedule.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "kernels/core/error.h"

using namespace cloze;

TEST_CASE("schedules follow their formulas at the corners") {
    const auto rate = [](ScheduleKind kind, std::int64_t t) {
        return Schedule{.kind = kind, .base = 2.0, .warmup_steps = 10, .total_steps = 110}.at(t);
    };
    for (const ScheduleKind kind :
         {ScheduleKind::linear, ScheduleKind::google_linear, ScheduleKind::poly, ScheduleKind::constant}) {
        CHECK(rate(kind, 0) == 0);
        CHECK(rate(kind, 5) == Approx(1.0));
    }
    CHECK(rate(ScheduleKind::linear, 10) == 2.0);
    CHECK(rate(ScheduleKind::linear, 60) == 1.0);
    CHECK(rate(ScheduleKind::linear, 110) == 0);
    CHECK(rate(ScheduleKind::google_linear, 10) == Approx(2.0 * 100 / 110));  // the documented drop
    CHECK(rate(ScheduleKind::google_linear, 110) == 0);
    CHECK(rate(ScheduleKind::poly, 10) == Approx(2.0 * std::sqrt(100.0 / 110)));
    CHECK(rate(ScheduleKind::constant, 5000) == 2.0);
    CHECK(rate(ScheduleKind::linear, 5000) == 0);
}

TEST_CASE("poly reproduces the jump of NVIDIA's phase 1") {
    const Schedule schedule{.kind = ScheduleKind::poly, .base = 6e-3, .warmup_steps = 2000, .total_steps = 7038};
    CHECK(schedule.at(2000) / 6e-3 == Approx(0.846).margin(5e-4));
}

TEST_CASE("without warm-up the first update has the full rate") {
    const Schedule schedule{.kind = ScheduleKind::linear, .base = 1e-4, .warmup_steps = 0, .total_steps = 100};
    CHECK(schedule.at(0) == 1e-4);
}

TEST_CASE("schedule names go both ways and others are refused") {
    for (const char* name : {"linear", "google-linear", "poly", "constant"}) {
        CHECK(name_of(schedule_from(name)) == std::string(name));
    }
    CHECK_THROWS_WITH(schedule_from("cosine"), Catch::Contains("cosine") && Catch::Contains("google-linear"));
}
