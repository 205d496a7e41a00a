// Random descriptors for tests: deterministic in the engine's state, always valid.
#pragma once

#include <optional>
#include <random>

#include "tandem/descriptor.hpp"

namespace tandem::test {

enum class ChainKinds {
    depthwise_pointwise,  // a depthwise 3, 5 or 7 with stride 1 or 2, then a dense 1x1, and so on
    winograd,             // mostly dense ones that Winograd applies to
    strassen,             // ends with a dense 1x1 that Strassen applies to, mostly
    any,                  // every field anything that validates
};

struct RandomChainOptions {
    ChainKinds kinds = ChainKinds::any;
    double max_flops = 5e6;          // whole batch; the reference then takes a few milliseconds
    bool exact_post_ops = false;     // only post-ops that map integers to integers
    std::optional<Layout> layout{};  // nullopt: any of them
    DataType dtype =
        DataType::f32;     // of the input; quantised chains get any intermediates and output that go with it
    bool factors = false;  // one input in twelve has factors, unless it is quantised
    int min_stages = 2, max_stages = 2;
    int views = 0;       // one chain in so many has tensors of layouts of their own, and with gaps; 0: none
    int input_sums = 0;  // one chain in so many puts out its input's shape, and may add it; 0: none
};

ConvChain random_chain(std::mt19937_64& engine, const RandomChainOptions& options = {});
/// Makes the last stage's residual one that lies as the output does; false where it has none
/// or the output is NCHW.
bool lay_residual_on_output(ConvChain& chain);
/// The chain of two that random_chain() makes.
ConvPair random_pair(std::mt19937_64& engine, RandomChainOptions options = {});

}  // namespace tandem::test
