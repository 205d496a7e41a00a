// Random descriptors for tests: deterministic in the engine's state, always valid.
#pragma once

#include <optional>
#include <random>

#include "tandem/descriptor.hpp"

namespace tandem::test {

enum class PairKinds {
    depthwise_pointwise,  // a depthwise 3, 5 or 7 with stride 1 or 2, then a dense 1x1
    any,                  // every field anything that validates
};

struct RandomPairOptions {
    PairKinds kinds = PairKinds::any;
    double max_flops = 5e6;          // whole batch; the reference then takes a few milliseconds
    bool exact_post_ops = false;     // only post-ops that map integers to integers
    std::optional<Layout> layout{};  // nullopt: any of them
    DataType dtype =
        DataType::f32;  // of the input; quantised pairs get any intermediate and output that go with it
};

ConvPair random_pair(std::mt19937_64& engine, const RandomPairOptions& options = {});

}  // namespace tandem::test
