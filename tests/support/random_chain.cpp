#include "support/random_chain.hpp"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <utility>

#include "core/plan/problem.hpp"
#include "core/plan/post_op_traits.hpp"

namespace tandem::test {

namespace {

constexpr std::int64_t max_channels = 1030, max_extent = 60;

class Generator {
public:
    Generator(std::mt19937_64& engine, const RandomChainOptions& options)
        : engine_(engine), options_(options) {}

    ConvChain chain() {
        ConvChain chain = ConvChain::of(
            {uniform(1, 3), log_uniform(max_channels), uniform(1, max_extent), uniform(1, max_extent)});
        if (options_.kinds == ChainKinds::strassen)
            chain.input = {1, halved_channels(), 2 * uniform(1, 5), uniform(1, 16)};
        chain.layout =
            options_.layout.value_or(pick<Layout>({Layout::nhwc, Layout::nchw16c, Layout::nchw8c}));
        const std::int64_t stages = options_.min_stages == options_.max_stages
                                        ? options_.min_stages
                                        : uniform(options_.min_stages, options_.max_stages);
        keeps_shape_ = options_.input_sums > 0 && one_in(options_.input_sums);
        while (chain.conv_count < stages)
            chain = chain.then(keeps_shape_ ? same_size(conv(chain.conv_count)) : conv(chain.conv_count));
        keep_channels(chain);
        chain.dtype = options_.dtype;
        if (is_quantized(chain.dtype))
            add_dtypes(chain);
        else if (options_.factors)
            chain.input.factors = one_in(12);
        return chain;
    }

    /// Post-ops come last, as the residual depends on everything else.
    void add_post_ops(Conv& conv, const Problem& problem, int i) {
        const std::int64_t count = uniform(0, max_post_ops);
        const bool like_input = keeps_shape_ && problem.output_shape(i) == problem.input_shape() &&
                                problem.output_dtype(i) == problem.dtype;
        if (like_input && one_in(2)) conv = conv.with({.kind = PostOpKind::sum, .of_input = true});
        while (conv.post_op_count < count) {
            const PostOp op = post_op(problem.stage(i).out_channels);
            if ((reads_tensor(op.kind) && conv.has(op.kind)) ||
                (options_.exact_post_ops && !exact_on_integers(op)))
                continue;
            conv = conv.with(op);
        }
        if (!conv.post_ops[0].of_input) return;
        std::swap(conv.post_ops[0],
                  conv.post_ops[static_cast<std::size_t>(uniform(0, conv.post_op_count - 1))]);
    }

    bool wants_views() { return options_.views > 0 && (options_.views == 1 || one_in(options_.views)); }

    void add_views(ConvChain& chain, const Problem& problem) {
        const Layout blocked =
            channel_block(chain.layout) > 1 ? chain.layout : pick<Layout>({Layout::nchw16c, Layout::nchw8c});
        const bool reads_planes = may_read_planes(problem) && one_in(2);
        chain.input_view = view(problem.input_shape(), reads_planes ? Layout::nchw : any_layout(blocked));
        chain.output_view = view(problem.output_shape(), one_in(3) ? Layout::nchw : any_layout(blocked));
        for (int i = 0; i < problem.stage_count; ++i)
            if (const TensorShape shape = problem.residual_shape(i); shape.c > 0)
                chain.residual_views[static_cast<std::size_t>(i)] = view(shape, any_layout(blocked));
    }

    /// Makes the problem smaller by one step; false if there is none.
    bool shrink(ConvChain& chain) const {
        InputShape& input = chain.input;
        if (halve(input.h > input.w ? input.h : input.w) || halve(input.n)) return true;
        for (int i = chain.conv_count; i-- > 0;)
            if (i != kept(chain) && halve(chain.conv(i).out_channels)) return true;
        if (halve(input.c)) {
            keep_channels(chain);
            return true;
        }
        for (int i = chain.conv_count; i-- > 0;)
            if (halve(chain.conv(i).multiplier)) return true;
        return false;
    }

private:
    static bool halve(std::int64_t& size) {
        if (size <= 1) return false;
        size = (size + 1) / 2;
        return true;
    }
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

    static bool may_read_planes(const Problem& problem) {
        bool sums_input = false;
        for (const Stage& stage : problem.stages)
            sums_input |= stage.sums_input();
        return !problem.stage(0).depthwise() && problem.input.c <= 4 && !sums_input;
    }
    Layout any_layout(Layout blocked) { return pick<Layout>({Layout::nhwc, blocked}); }

    TensorView view(const TensorShape& shape, Layout layout) {
        TensorView view(layout);
        const std::int64_t unit = channel_block(view.layout);
        for (const auto stride :
             {&TensorView::pixel, &TensorView::row, &TensorView::block, &TensorView::image})
            if (one_in(2) && filled(view, shape).*stride > 0 &&
                (layout != Layout::nchw || stride != &TensorView::pixel))
                view.*stride = filled(view, shape).*stride + unit * uniform(0, 40);
        return view;
    }

    void add_dtypes(ConvChain& chain) {
        using Type = std::optional<DataType>;
        const auto last = static_cast<std::size_t>(chain.conv_count - 1);
        for (std::size_t i = 0; i < last; ++i)
            chain.output_dtypes[i] = pick<Type>({std::nullopt, DataType::u8, DataType::s8});
        chain.output_dtypes[last] = pick<Type>({std::nullopt, DataType::u8, DataType::s8, DataType::f32});
    }

    Conv conv(int stage) {
        switch (options_.kinds) {
            case ChainKinds::depthwise_pointwise:
                return stage % 2 == 0 ? depthwise() : Conv::dense(1, log_uniform(max_channels));
            case ChainKinds::winograd: return one_in(4) ? any_conv() : winograd_conv();
            case ChainKinds::strassen: return one_in(4) ? same_size(depthwise()) : pointwise_of_halves();
            case ChainKinds::any: break;
        }
        return any_conv();
    }

    Conv winograd_conv() {
        Conv conv = Conv::dense(3, log_uniform(128));
        conv.kernel = pick<Size2>({{3, 3}, {3, 3}, {5, 5}, {1, 3}, {3, 1}, {5, 1}, {1, 7}, {7, 1}, {3, 5}});
        if (conv.kernel == Size2{3, 3} && one_in(4)) conv.stride = {2, 2};
        const std::int64_t rows = conv.kernel.h - 1, columns = conv.kernel.w - 1;
        if (one_in(2))
            conv.padding = {uniform(0, rows), uniform(0, columns), uniform(0, rows), uniform(0, columns)};
        return conv;
    }

    std::int64_t halved_channels() { return 32 * uniform(4, 6); }
    Conv pointwise_of_halves() { return Conv::dense(1, halved_channels()); }

    static Conv same_size(Conv conv) {
        conv.stride = {};
        conv.padding.reset();
        conv.multiplier = 1;
        return conv;
    }

    /// The convolution with as many output channels as the chain's input, where the chain is to keep its
    /// shape: the last dense one; -1: none.
    int kept(const ConvChain& chain) const {
        int i = keeps_shape_ ? chain.conv_count - 1 : -1;
        while (i >= 0 && chain.conv(i).kind == ConvKind::depthwise)
            --i;
        return i;
    }
    void keep_channels(ConvChain& chain) const {
        if (const int i = kept(chain); i >= 0) chain.conv(i).out_channels = chain.input.c;
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
    const RandomChainOptions& options_;
    bool keeps_shape_ = false;  // the chain puts out its input's shape
};

}  // namespace

ConvChain random_chain(std::mt19937_64& engine, const RandomChainOptions& options) {
    Generator generator(engine, options);
    while (true) {
        ConvChain chain = generator.chain();
        Result<Problem> problem = make_problem(chain);
        while (problem && problem->flops() > options.max_flops && generator.shrink(chain))
            problem = make_problem(chain);
        if (!problem || problem->flops() > options.max_flops) continue;
        for (int i = 0; i < chain.conv_count; ++i)
            generator.add_post_ops(chain.conv(i), *problem, i);
        if (generator.wants_views()) generator.add_views(chain, *make_problem(chain));
        return chain;
    }
}

bool lay_residual_on_output(ConvChain& chain) {
    const Problem problem = *make_problem(chain);
    const int last = problem.stage_count - 1;
    if (problem.residual_shape(last).c == 0 || problem.writes_planes()) return false;
    chain.residual_views[static_cast<std::size_t>(last)] = problem.output_view;
    return true;
}

ConvPair random_pair(std::mt19937_64& engine, RandomChainOptions options) {
    options.min_stages = options.max_stages = 2;
    return ConvPair(random_chain(engine, options));
}

}  // namespace tandem::test
