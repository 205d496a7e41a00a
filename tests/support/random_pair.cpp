#include "support/random_pair.hpp"

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "core/plan/problem.hpp"
#include "core/plan/post_op_traits.hpp"

namespace tandem::test {

namespace {

constexpr std::int64_t max_channels = 1030, max_extent = 60;

class Generator {
public:
    Generator(std::mt19937_64& engine, const RandomPairOptions& options)
        : engine_(engine), options_(options) {}

    ConvPair pair() {
        ConvPair pair;
        pair.input = {uniform(1, 3), log_uniform(max_channels), uniform(1, max_extent),
                      uniform(1, max_extent)};
        pair.layout = options_.layout.value_or(pick<Layout>({Layout::nhwc, Layout::nchw16c, Layout::nchw8c}));
        pair.first = options_.kinds == PairKinds::any ? any_conv() : depthwise();
        pair.second =
            options_.kinds == PairKinds::any ? any_conv() : Conv::dense(1, log_uniform(max_channels));
        pair.dtype = options_.dtype;
        if (is_quantized(pair.dtype)) add_dtypes(pair);
        return pair;
    }

    /// Post-ops come last, as the residual's channels depend on everything else.
    void add_post_ops(Conv& conv, std::int64_t out_channels) {
        const std::int64_t count = uniform(0, max_post_ops);
        while (conv.post_op_count < count) {
            const PostOp op = post_op(out_channels);
            if ((reads_tensor(op.kind) && conv.has(op.kind)) ||
                (options_.exact_post_ops && !exact_on_integers(op)))
                continue;
            conv = conv.with(op);
        }
    }

    /// Makes the problem smaller by one step; false if there is none.
    static bool shrink(ConvPair& pair) {
        std::int64_t& side = pair.input.h > pair.input.w ? pair.input.h : pair.input.w;
        std::int64_t* const sizes[] = {
            &side,         &pair.input.n,           &pair.second.out_channels, &pair.first.out_channels,
            &pair.input.c, &pair.second.multiplier, &pair.first.multiplier};
        for (std::int64_t* size : sizes)
            if (*size > 1) {
                *size = (*size + 1) / 2;
                return true;
            }
        return false;
    }

private:
    std::int64_t uniform(std::int64_t low, std::int64_t high) {
        return low + static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(high - low + 1));
    }
    std::int64_t log_uniform(std::int64_t high) {
        const double exponent = static_cast<double>(engine_() >> 11) * 0x1p-53;
        return std::clamp(static_cast<std::int64_t>(std::pow(static_cast<double>(high), exponent)),
                          std::int64_t{1}, high);
    }
    bool one_in(std::int64_t n) { return uniform(1, n) == 1; }
    template <class T>
    T pick(std::initializer_list<T> values) {
        return values.begin()[uniform(0, static_cast<std::int64_t>(values.size()) - 1)];
    }
    Size2 square_or_not(std::int64_t high) {
        const std::int64_t h = uniform(1, high);
        return {h, one_in(3) ? uniform(1, high) : h};
    }

    void add_dtypes(ConvPair& pair) {
        using Type = std::optional<DataType>;
        pair.intermediate_dtype = pick<Type>({std::nullopt, DataType::u8, DataType::s8});
        pair.output_dtype = pick<Type>({std::nullopt, DataType::u8, DataType::s8, DataType::f32});
    }

    Conv depthwise() {
        const std::int64_t kernel = one_in(8) ? uniform(8, 15) : pick<std::int64_t>({3, 5, 7});
        Conv conv = Conv::depthwise(kernel, uniform(1, one_in(8) ? 8 : 2));
        if (one_in(3)) conv.padding = padding(conv);
        return conv;
    }

    Conv any_conv() {
        Conv conv;
        conv.kind = pick({ConvKind::depthwise, ConvKind::dense});
        conv.kernel = square_or_not(one_in(8) ? 15 : 7);
        conv.stride = square_or_not(one_in(2) ? 2 : one_in(4) ? 8 : 4);
        if (one_in(4)) conv.dilation = square_or_not(one_in(8) ? max_extent + 10 : 3);
        if (one_in(2)) conv.padding = padding(conv);
        if (conv.kind == ConvKind::dense)
            conv.out_channels = log_uniform(max_channels);
        else if (one_in(4))
            conv.multiplier = uniform(2, 4);
        return conv;
    }

    /// Mostly any padding smaller than the kernel's extent, else up to twice that; each side on its own.
    Padding padding(const Conv& conv) {
        const std::int64_t rows = (conv.kernel.h - 1) * conv.dilation.h + 1,
                           columns = (conv.kernel.w - 1) * conv.dilation.w + 1;
        const auto side = [&](std::int64_t extent) {
            return uniform(0, one_in(6) ? 2 * extent : extent - 1);
        };
        return {side(rows), side(columns), side(rows), side(columns)};
    }

    PostOp post_op(std::int64_t out_channels) {
        PostOp op{.kind = static_cast<PostOpKind>(uniform(0, post_op_kinds - 1))};
        switch (traits(op).parameters) {
            case PostOpParameters::none: break;
            case PostOpParameters::slope: op.alpha = pick({0.1f, 0.25f, 0.5f, 1.0f, 2.0f, 0.0f}); break;
            case PostOpParameters::bounds:
                op.alpha = pick({-3.0f, -1.0f, 0.0f, -0.5f});
                op.beta = pick({0.0f, 1.0f, 20.0f, 6.5f});
                break;
            case PostOpParameters::channels:
                if (one_in(2)) op.channels = uniform(1, out_channels);
                break;
        }
        return op;
    }

    std::mt19937_64& engine_;
    const RandomPairOptions& options_;
};

}  // namespace

ConvPair random_pair(std::mt19937_64& engine, const RandomPairOptions& options) {
    Generator generator(engine, options);
    while (true) {
        ConvPair pair = generator.pair();
        Result<Problem> problem = make_problem(pair);
        while (problem && problem->flops() > options.max_flops && Generator::shrink(pair))
            problem = make_problem(pair);
        if (!problem || problem->flops() > options.max_flops) continue;
        generator.add_post_ops(pair.first, problem->stage(0).out_channels);
        generator.add_post_ops(pair.second, problem->stage(1).out_channels);
        return pair;
    }
}

}  // namespace tandem::test
