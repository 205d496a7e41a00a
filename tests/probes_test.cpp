// The probes of peaks: what they run, and that they leave no tiles behind. How fast that is, nothing here
// says.
#include "core/run/probes.hpp"

#include "support/doctest.hpp"

#include <string>

#include "core/plan/arithmetic.hpp"
#include "core/run/amx_permission.hpp"
#include "tests/amx_emulator.hpp"

using namespace tandem;
using test::AmxEmulator, test::AmxInstruction;

TEST_CASE("probes: every dot of every ISA of the host runs") {
    for (const Isa isa : host_isas())
        for (const Dot dot : all_dots) {
            if (!has_dot(isa, dot) || (uses_amx(dot) && !request_amx())) continue;
            CAPTURE(to_string(isa));
            CAPTURE(to_string(dot));
            run_dots(dot, isa, 0);
            run_dots(dot, isa, 3);
            CHECK(dot_peak_gflops(dot, isa) > 0);
        }
}

TEST_CASE("probes: operations of an iteration, as the instructions have them") {
    CHECK(dot_ops_per_iteration(Dot::f32, Isa::avx2) == 12 * 8 * 2);
    CHECK(dot_ops_per_iteration(Dot::f32, Isa::avx512) == 24 * 16 * 2);
    CHECK(dot_ops_per_iteration(Dot::bf16, Isa::avx512_bf16) == 24 * 32 * 2);
    CHECK(dot_ops_per_iteration(Dot::int16, Isa::avx2) == 12 * 16 * 2);
    CHECK(dot_ops_per_iteration(Dot::int8, Isa::avx2_vnni) == 12 * 32 * 2);
    CHECK(dot_ops_per_iteration(Dot::int8, Isa::avx512_vnni) == 24 * 64 * 2);
    CHECK(dot_ops_per_iteration(Dot::amx_bf16, Isa::amx) == 4 * 16 * 16 * 32 * 2);
    CHECK(dot_ops_per_iteration(Dot::amx_int8, Isa::amx) == 4 * 16 * 16 * 64 * 2);
    CHECK(dot_ops_per_iteration(Dot::amx_x3, Isa::amx) * 3 ==
          doctest::Approx(dot_ops_per_iteration(Dot::amx_bf16, Isa::amx)));
    CHECK(dot_ops_per_iteration(Dot::amx_x6, Isa::amx) * 6 ==
          doctest::Approx(dot_ops_per_iteration(Dot::amx_bf16, Isa::amx)));
}

TEST_CASE("probes: AMX products, of tiles that are configured and released inside") {
    const AmxEmulator emulator;
    for (const auto& [dot, instruction] : {std::pair{Dot::amx_bf16, AmxInstruction::tdpbf16ps},
                                           {Dot::amx_x3, AmxInstruction::tdpbf16ps},
                                           {Dot::amx_x6, AmxInstruction::tdpbf16ps},
                                           {Dot::amx_int8, AmxInstruction::tdpbusd}}) {
        CAPTURE(to_string(dot));
        AmxEmulator::reset_counts();
        run_dots(dot, Isa::amx, 3);
        CHECK_FALSE(AmxEmulator::tiles_configured());
        if (!AmxEmulator::needed()) continue;
        CHECK(AmxEmulator::executed(instruction) == 3 * 4);
        CHECK(AmxEmulator::executed() ==
              3 * 4 + 1 + 4 + 4 + 1);  // with a configuration, four loads, four zeros and a release
    }
}
