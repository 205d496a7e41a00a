// Random descriptors against the reference, between guard pages, on every ISA. docs/testing.md tells how to
// run more of them.
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <random>

#include "support/doctest.hpp"

#include "core/plan/machine.hpp"
#include "support/forked_jobs.hpp"
#include "support/random_chain.hpp"
#include "support/verify_job.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

std::int64_t environment_number(const char* name, std::int64_t otherwise) {
    const char* text = std::getenv(name);
    std::int64_t number = 0;
    if (text == nullptr || std::from_chars(text, text + std::strlen(text), number).ec != std::errc{})
        return otherwise;
    return number;
}

struct Case {
    ConvChain chain;
    VerifyOptions options;
};

/// One test's pairs.
struct RandomSet {
    const char* test;  // a filter that finds it
    ChainKinds kinds = ChainKinds::any;
    std::int64_t count = 0;  // unless the environment says otherwise
    DataType dtype = DataType::f32;
    std::optional<Math> math{};  // nullopt: any that goes with f32 tensors and others alike
    int min_stages = 2, max_stages = 2;
};

/// Descriptor `index` of a seed, whatever came before it: so that one of them can be run alone.
Case random_case(const RandomSet& set, std::uint64_t seed, std::int64_t index) {
    std::seed_seq seeds{seed, seed >> 32, static_cast<std::uint64_t>(index),
                        static_cast<std::uint64_t>(set.kinds)};
    std::mt19937_64 engine(seeds);
    const DataKind data = index % 2 == 0 ? DataKind::integers : DataKind::random;
    RandomChainOptions options{.kinds = set.kinds,
                               .max_flops = 2e6,
                               .dtype = set.dtype,
                               .factors = true,
                               .min_stages = set.min_stages,
                               .max_stages = set.max_stages,
                               .views = 4,
                               .input_sums = 8};
    // Otherwise few pairs would be compared exactly: most chains have an inexact post-op somewhere.
    options.exact_post_ops = index % 4 == 0;
    Case result{random_chain(engine, options), {}};
    if (set.math) result.chain.math = *set.math;
    const int threads = 1 + static_cast<int>(engine() % 3);
    result.options = {
        .dispatch = {.threads = threads}, .threads = threads, .seed = engine() % 1000000, .data = data};
    result.options.in_place = engine() % 2 == 0 && lay_residual_on_output(result.chain);
    return result;
}

void check_random(const RandomSet& set) {
    const auto seed = static_cast<std::uint64_t>(environment_number("TANDEM_RANDOM_SEED", 1));
    const std::int64_t count =
        environment_number("TANDEM_RANDOM_COUNT", sanitized ? set.count / 50 : set.count);
    const std::int64_t first = environment_number("TANDEM_RANDOM_FIRST", 0);
    const auto failures = run_forked(count, 100, [&](std::int64_t i) {
        Case c = random_case(set, seed, first + i);
        for (const Isa isa : host_isas(set.dtype, c.chain.math)) {
            c.options.dispatch.isa = isa;
            if (std::string message = verify_job(c.chain, c.options); !message.empty())
                return fmt::format("{}: {}", to_string(isa), message);
        }
        return std::string();
    });
    for (const JobFailure& failure : failures) {
        const std::int64_t index = first + failure.index;
        Case c = random_case(set, seed, index);
        std::string commands;
        for (const Isa isa : host_isas(set.dtype, c.chain.math)) {
            c.options.dispatch.isa = isa;
            commands += "\n  rerun: " + rerun_command(c.chain, c.options);
        }
        FAIL_CHECK(to_string(c.chain) << ": " << failure.message << commands << "\n  or: TANDEM_RANDOM_SEED="
                                      << seed << " TANDEM_RANDOM_FIRST=" << index
                                      << " TANDEM_RANDOM_COUNT=1 tandem_tests -tc='" << set.test << "'");
    }
}

/// Five thousand pairs of a data type, a third of them depthwise, then 1x1.
void check_random(DataType dtype) {
    const std::string test = std::string("random kernels: ") + to_string(dtype);
    check_random({test.c_str(), ChainKinds::depthwise_pointwise, 1750, dtype});
    check_random({test.c_str(), ChainKinds::any, 3250, dtype});
}

}  // namespace

TEST_CASE("random kernels: depthwise, then 1x1") {
    check_random({"random kernels: depthwise*", ChainKinds::depthwise_pointwise, 2000});
}

TEST_CASE("random kernels: any pair") { check_random({"random kernels: any*", ChainKinds::any, 5000}); }

TEST_CASE("random kernels: math bf16") {
    check_random(
        {"random kernels: math bf16", ChainKinds::depthwise_pointwise, 350, DataType::f32, Math::bf16});
    check_random({"random kernels: math bf16", ChainKinds::any, 650, DataType::f32, Math::bf16});
}
TEST_CASE("random kernels: math f16") {
    check_random(
        {"random kernels: math f16", ChainKinds::depthwise_pointwise, 700, DataType::f16, Math::f16});
    check_random({"random kernels: math f16", ChainKinds::any, 1300, DataType::f16, Math::f16});
}
TEST_CASE("random kernels: bf16") { check_random(DataType::bf16); }
TEST_CASE("random kernels: f16") { check_random(DataType::f16); }
TEST_CASE("random kernels: u8") { check_random(DataType::u8); }
TEST_CASE("random kernels: s8") { check_random(DataType::s8); }

// Of one, three and four stages.
TEST_CASE("random kernels: chains") {
    for (const DataType dtype : {DataType::f32, DataType::bf16, DataType::f16, DataType::u8, DataType::s8}) {
        check_random({"random kernels: chains", ChainKinds::any, 150, dtype, {}, 1, 1});
        check_random({"random kernels: chains", ChainKinds::any, 500, dtype, {}, 3, 4});
    }
}
