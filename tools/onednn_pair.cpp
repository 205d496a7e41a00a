#include "tools/onednn_pair.hpp"

#include <fmt/format.h>

#if TANDEM_HAVE_ONEDNN
#include <oneapi/dnnl/dnnl.hpp>

#include <algorithm>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/plan/post_op_traits.hpp"
#endif

namespace tandem::tool {

#if !TANDEM_HAVE_ONEDNN

bool have_onednn() noexcept { return false; }
std::string onednn_version() { return {}; }
Status limit_onednn(Isa) { return {}; }
std::unique_ptr<Contender> make_onednn_contender(bool) { return nullptr; }

#else

namespace {

using dnnl::algorithm;
using dnnl::memory;
using Dims = memory::dims;

memory::data_type type_of(DataType type) {
    switch (type) {
        case DataType::f32: return memory::data_type::f32;
        case DataType::bf16: return memory::data_type::bf16;
        case DataType::f16: return memory::data_type::f16;
        case DataType::u8: return memory::data_type::u8;
        case DataType::s8: return memory::data_type::s8;
    }
    return memory::data_type::undef;
}

memory::desc plain_desc(const Dims& dims, memory::data_type type = memory::data_type::f32) {
    constexpr memory::format_tag tags[] = {memory::format_tag::a, memory::format_tag::ab,
                                           memory::format_tag::abc, memory::format_tag::abcd,
                                           memory::format_tag::abcde};
    return {dims, type, tags[dims.size() - 1]};
}

memory::desc any_desc(const Dims& dims, DataType type) {
    return {dims, type_of(type), memory::format_tag::any};
}

Dims dims_of(const TensorShape& shape) { return {shape.n, shape.c, shape.h, shape.w}; }

/// One convolution: the primitive and the memory it is run with.
struct Primitive {
    dnnl::convolution_forward::primitive_desc desc;
    dnnl::convolution_forward convolution;
    std::unordered_map<int, memory> args;
};

/// A conversion of tensors that is timed.
struct Reorder {
    dnnl::reorder reorder;
    memory from, to;
};

/// Where the data of a post-op that has some comes from.
struct PostOpData {
    int argument;
    Dims dims;
    std::vector<float> values;
};

/// A stage's chain in oneDNN's terms. Quantised: post-ops work on `unit` times the real numbers.
struct Chain {
    dnnl::post_ops ops;
    float unit = 1;
    Quantization input{};
    bool bias = false;  // the convolution's own
    bool sum = false;
    std::vector<PostOpData> data;

    void eltwise(algorithm kind, float alpha = 0, float beta = 0) {
#if DNNL_VERSION_MAJOR >= 3
        ops.append_eltwise(kind, alpha, beta);
#else
        ops.append_eltwise(1.0f, kind, alpha, beta);
#endif
    }
    void per_channel(algorithm kind, std::int64_t channels, std::span<const float> values, float factor) {
        const Dims dims{1, channels, 1, 1};
        data.push_back(
            {DNNL_ARG_ATTR_MULTIPLE_POST_OP(ops.len()) | DNNL_ARG_SRC_1, dims, times(values, factor)});
        ops.append_binary(kind, plain_desc(dims));
    }

    static std::vector<float> times(std::span<const float> values, float factor) {
        std::vector<float> result(values.begin(), values.end());
        for (float& value : result)
            value *= factor;
        return result;
    }
};

/// The output's scale can go into the sums', as frameworks do it.
bool scales_along(const PostOp& op) { return traits(op).function == PostOpClass::homogeneous; }

constexpr float sixth = 1.0f / 6;

/// True where the post-op is one elementwise function.
bool append_eltwise(Chain& chain, const PostOp& op) {
    switch (op.kind) {
        case PostOpKind::relu: chain.eltwise(algorithm::eltwise_relu); return true;
        case PostOpKind::relu6: chain.eltwise(algorithm::eltwise_clip, 0, 6 * chain.unit); return true;
        case PostOpKind::leaky: chain.eltwise(algorithm::eltwise_relu, op.alpha); return true;
        case PostOpKind::clip:
            chain.eltwise(algorithm::eltwise_clip, op.alpha * chain.unit, op.beta * chain.unit);
            return true;
        case PostOpKind::sigmoid: chain.eltwise(algorithm::eltwise_logistic); return true;
        case PostOpKind::tanh: chain.eltwise(algorithm::eltwise_tanh); return true;
        case PostOpKind::swish: chain.eltwise(algorithm::eltwise_swish, 1); return true;
        case PostOpKind::elu: chain.eltwise(algorithm::eltwise_elu, op.alpha); return true;
        case PostOpKind::gelu_erf: chain.eltwise(algorithm::eltwise_gelu_erf); return true;
        case PostOpKind::gelu_tanh: chain.eltwise(algorithm::eltwise_gelu_tanh); return true;
        case PostOpKind::mish: chain.eltwise(algorithm::eltwise_mish); return true;
        case PostOpKind::hsigmoid:  // 2.6 has no hardsigmoid
            chain.eltwise(algorithm::eltwise_linear, sixth, 0.5f);
            chain.eltwise(algorithm::eltwise_clip, 0, 1);
            return true;
        case PostOpKind::hswish: chain.eltwise(algorithm::eltwise_hardswish, sixth, 0.5f); return true;
        default: return false;
    }
}

Status append_sum(Chain& chain, const Stage& stage, DataType type, const Quantization& residual) {
    if (stage.residual_channels() != stage.out_channels)
        return Error{ErrorCode::unsupported,
                     fmt::format("oneDNN's sum takes a residual of all {} output channels; this one has {}.",
                                 stage.out_channels, stage.residual_channels())};
    chain.sum = true;
    if (!is_quantized(type))
        chain.ops.append_sum(1.0f);
    else if (residual.zero_point == 0)
        chain.ops.append_sum(residual.scale * chain.unit);
    else
        chain.ops.append_sum(residual.scale * chain.unit, residual.zero_point);
    return {};
}

Status append_post_op(Chain& chain, const Stage& stage, int i, const StageWeights& weights, DataType type) {
    const PostOp& op = stage.conv.post_ops[static_cast<std::size_t>(i)];
    if (append_eltwise(chain, op)) return {};
    switch (op.kind) {
        case PostOpKind::bias:
            if (i == 0)
                chain.bias = true;
            else
                chain.per_channel(algorithm::binary_add, stage.out_channels, weights.bias, chain.unit);
            return {};
        case PostOpKind::scale:
            chain.per_channel(algorithm::binary_mul, stage.out_channels, weights.scale, 1);
            return {};
        case PostOpKind::prelu:
            chain.data.push_back({DNNL_ARG_ATTR_MULTIPLE_POST_OP(chain.ops.len()) | DNNL_ARG_WEIGHTS,
                                  Dims{1, stage.out_channels, 1, 1}, Chain::times(weights.prelu, 1)});
            chain.ops.append_prelu(1 << 1);
            return {};
        case PostOpKind::sum: return append_sum(chain, stage, type, weights.residual);
        default:
            return Error{ErrorCode::unsupported,
                         fmt::format("oneDNN has no post-op '{}'.", to_string(op.kind))};
    }
}

Result<Chain> make_chain(const Stage& stage, const Quantization& input, const StageWeights& weights,
                         DataType type) {
    Chain chain;
    chain.input = input;
    const bool early = std::ranges::all_of(stage.conv.chain(), scales_along);
    if (is_quantized(type) && early) chain.unit = 1 / weights.output.scale;
    for (int i = 0; i < stage.conv.post_op_count; ++i)
        if (const Status status = append_post_op(chain, stage, i, weights, type); !status)
            return status.error();
    if (is_quantized(type) && !early) chain.eltwise(algorithm::eltwise_linear, 1 / weights.output.scale);
    return chain;
}

/// What the integer sums of a quantised stage are multiplied by.
std::vector<float> sum_scales(const StageWeights& weights, const Chain& chain) {
    return Chain::times(weights.weight_scales, chain.input.scale * chain.unit);
}

/// oneDNN 2 adds the bias to the sums before it scales them, 3 afterwards.
std::vector<float> bias_of(const StageWeights& weights, const Chain& chain) {
    std::vector<float> bias = Chain::times(weights.bias, chain.unit);
#if DNNL_VERSION_MAJOR < 3
    const std::vector<float> scales = sum_scales(weights, chain);
    for (std::size_t c = 0; c < scales.size(); ++c)
        bias[c] /= scales[c];
#endif
    return bias;
}

Dims weight_dims(const Stage& stage) {
    const Size2 kernel = stage.conv.kernel;
    if (stage.depthwise()) return {stage.in_channels, stage.conv.multiplier, 1, kernel.h, kernel.w};
    return {stage.out_channels, stage.in_channels, kernel.h, kernel.w};
}

class OneDnnContender final : public Contender {
public:
    explicit OneDnnContender(bool automatic)
        : algorithm_(automatic ? algorithm::convolution_auto : algorithm::convolution_direct) {}

    Result<std::vector<float>> prepare(const Workload& workload) override try {
        const Problem& problem = workload.problem;
        if (problem.input.factors)
            return Error{ErrorCode::unsupported, "oneDNN's convolutions read no input with factors."};
        reads_planes_ = problem.reads_planes(0);
        if (const Status status = add_all(workload); !status) return status.error();
        if (reads_planes_ && falls_back()) {
            reads_planes_ = false;
            if (const Status status = add_all(workload); !status) return status.error();
            add_input_planes(workload);
        }
        const TensorShape shape = problem.output_shape();
        if (problem.writes_planes()) add_output_planes(shape, problem.output_dtype(problem.stage_count - 1));
        run_all();
        const memory& output = behind_ ? behind_->to : primitives_.back().args.at(DNNL_ARG_DST);
        std::vector<float> plain(static_cast<std::size_t>(shape.n * shape.c * shape.h * shape.w));
        copy(output, memory(plain_desc(dims_of(shape)), engine_, plain.data()));
        return plain;
    } catch (const dnnl::error& error) {
        if (error.status == dnnl_unimplemented && workload.problem.dtype != DataType::f32)
            return Error{ErrorCode::unsupported,
                         fmt::format("{} for a layer like this is not offered by this oneDNN.",
                                     to_string(workload.problem.dtype))};
        return Error{ErrorCode::unsupported,
                     fmt::format("oneDNN has no primitive for this layer: {}.", error.what())};
    }

    void run() noexcept override { run_all(); }

    std::vector<std::string> description() const override {
        std::vector<std::string> names;
        if (before_) names.emplace_back("reorder from nchw");
        for (const Primitive& primitive : primitives_)
            names.emplace_back(primitive.desc.impl_info_str());
        if (behind_) names.emplace_back("reorder to nchw");
        return names;
    }

private:
    void run_all() {
        if (before_) before_->reorder.execute(stream_, before_->from, before_->to);
        for (const Primitive& primitive : primitives_)
            primitive.convolution.execute(stream_, primitive.args);
        if (behind_) behind_->reorder.execute(stream_, behind_->from, behind_->to);
        stream_.wait();
    }

    Status add_all(const Workload& workload) {
        primitives_.clear();
        for (int i = 0; i < workload.problem.stage_count; ++i)
            if (const Status status = add(workload, i); !status) return status.error();
        return {};
    }

    /// Reading NCHW may leave this or a later convolution to oneDNN's reference code.
    bool falls_back() const {
        return std::ranges::any_of(primitives_, [](const Primitive& primitive) {
            return std::string_view(primitive.desc.impl_info_str()).starts_with("ref");
        });
    }

    /// In front of the primitives, where none of the fast ones reads NCHW.
    void add_input_planes(const Workload& workload) {
        const Dims dims = dims_of(workload.problem.input_shape());
        const memory plain =
            filled(plain_desc(dims, type_of(workload.problem.dtype)), dims, workload.input_nchw);
        const memory& source = primitives_.front().args.at(DNNL_ARG_SRC);
        before_ = Reorder{dnnl::reorder(plain, source), plain, source};
    }

    /// Behind them: none of the fast ones writes it.
    void add_output_planes(const TensorShape& shape, DataType type) {
        const memory plain(plain_desc(dims_of(shape), type_of(type)), engine_);
        const memory& output = primitives_.back().args.at(DNNL_ARG_DST);
        behind_ = Reorder{dnnl::reorder(output, plain), output, plain};
    }

    void copy(memory from, memory to) {
        dnnl::reorder(from, to).execute(stream_, from, to);
        stream_.wait();
    }

    memory filled(const memory::desc& desc, const memory::desc& plain, const void* values) {
        memory result(desc, engine_);
        copy(memory(plain, engine_, const_cast<void*>(values)), result);
        return result;
    }
    /// Values as the memory's type can hold them: those of quantised tensors are integers already.
    memory filled(const memory::desc& desc, const Dims& dims, std::span<const float> values) {
        return filled(desc, plain_desc(dims), values.data());
    }

    memory packed_weights(const memory::desc& desc, const Stage& stage, const StageWeights& weights) {
        if (weights.quantized_weights.empty()) return filled(desc, weight_dims(stage), weights.weights);
        return filled(desc, plain_desc(weight_dims(stage), memory::data_type::s8),
                      weights.quantized_weights.data());
    }

    /// Scales and zero points: attributes in oneDNN 2, attributes' masks and arguments in 3.
    void add_quantization(const Problem& problem, int i, const StageWeights& weights, const Chain& chain,
                          dnnl::primitive_attr& attributes, std::unordered_map<int, memory>& args) {
        if (!problem.quantized()) return;
        const std::vector<float> scales = sum_scales(weights, chain);
        const auto zero_point = [&](int argument, std::int32_t value) {
            if (value == 0) return;
#if DNNL_VERSION_MAJOR >= 3
            attributes.set_zero_points_mask(argument, 0);
            args[DNNL_ARG_ATTR_ZERO_POINTS | argument] = filled(
                plain_desc({1}, memory::data_type::s32), plain_desc({1}, memory::data_type::s32), &value);
#else
            attributes.set_zero_points(argument, 0, {value});
#endif
        };
#if DNNL_VERSION_MAJOR >= 3
        attributes.set_scales_mask(DNNL_ARG_WEIGHTS, problem.stage(i).depthwise() ? 3 : 1);
        const Dims dims{static_cast<std::int64_t>(scales.size())};
        args[DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS] = filled(plain_desc(dims), dims, scales);
#else
        static_cast<void>(args);
        attributes.set_output_scales(1 << 1, scales);
#endif
        zero_point(DNNL_ARG_SRC, chain.input.zero_point);
        if (is_quantized(problem.output_dtype(i))) zero_point(DNNL_ARG_DST, weights.output.zero_point);
    }

    dnnl::convolution_forward::primitive_desc describe(const Problem& problem, int i, const Chain& chain,
                                                       const dnnl::primitive_attr& attributes) const {
        const Stage& stage = problem.stage(i);
        const memory::desc source = i > 0 ? primitives_.back().desc.dst_desc()
                                    : reads_planes_
                                        ? plain_desc(dims_of(problem.input_shape()), type_of(problem.dtype))
                                        : any_desc(dims_of(problem.input_shape()), problem.dtype);
        const memory::desc weights =
            any_desc(weight_dims(stage), problem.quantized() ? DataType::s8 : problem.dtype);
        const memory::desc output = any_desc(dims_of(problem.output_shape(i)), problem.output_dtype(i));
        const memory::desc bias = chain.bias ? plain_desc({stage.out_channels}) : memory::desc();
        const Dims strides{stage.conv.stride.h, stage.conv.stride.w};
        const Dims dilation{stage.conv.dilation.h - 1, stage.conv.dilation.w - 1};
        const Dims before{stage.padding.top, stage.padding.left},
            after{stage.padding.bottom, stage.padding.right};
        const auto kind = dnnl::prop_kind::forward_inference;
#if DNNL_VERSION_MAJOR >= 3
        return {engine_, kind,    algorithm_, source, weights, bias,
                output,  strides, dilation,   before, after,   attributes};
#else
        const dnnl::convolution_forward::desc convolution =
            chain.bias ? dnnl::convolution_forward::desc(kind, algorithm_, source, weights, bias, output,
                                                         strides, dilation, before, after)
                       : dnnl::convolution_forward::desc(kind, algorithm_, source, weights, output, strides,
                                                         dilation, before, after);
        return {convolution, attributes, engine_};
#endif
    }

    /// What stage i's sum is added to, and so its output, as in a framework; it grows from run to run, which
    /// costs no time. The chain's input itself where that is what is summed, nothing reads it afterwards and
    /// both primitives want it to lie alike.
    memory summed(const Workload& workload, int i, const memory::desc& desc) {
        const Problem& problem = workload.problem;
        if (!problem.stage(i).sums_input())
            return filled(desc, dims_of(problem.output_shape(i)),
                          workload.residual_nchw[static_cast<std::size_t>(i)]);
        bool read_later = i == 0;  // by this primitive, or by a later sum
        for (int later = i + 1; later < problem.stage_count; ++later)
            read_later |= problem.stage(later).sums_input();
        if (!read_later && primitives_.front().desc.src_desc() == desc)
            return primitives_.front().args.at(DNNL_ARG_SRC);
        return filled(desc, dims_of(problem.input_shape()), workload.input_nchw);
    }

    Status add(const Workload& workload, int i) {
        const Problem& problem = workload.problem;
        const Stage& stage = problem.stage(i);
        const StageWeights weights = workload.data.stages[static_cast<std::size_t>(i)].view();
        const Result<Chain> chain =
            make_chain(stage, workload.data.input_of(i), weights, problem.output_dtype(i));
        if (!chain) return chain.error();
        std::unordered_map<int, memory> args;
        dnnl::primitive_attr attributes;
        attributes.set_post_ops(chain->ops);
        add_quantization(problem, i, weights, *chain, attributes, args);
        const auto desc = describe(problem, i, *chain, attributes);
        Primitive primitive{desc, dnnl::convolution_forward(desc), std::move(args)};
        primitive.args[DNNL_ARG_SRC] =
            i == 0 ? filled(desc.src_desc(), dims_of(problem.input_shape()), workload.input_nchw)
                   : primitives_.back().args.at(DNNL_ARG_DST);
        primitive.args[DNNL_ARG_WEIGHTS] = packed_weights(desc.weights_desc(), stage, weights);
        if (chain->bias)
            primitive.args[DNNL_ARG_BIAS] =
                filled(desc.bias_desc(), {stage.out_channels}, bias_of(weights, *chain));
        for (const PostOpData& data : chain->data)
            primitive.args[data.argument] = filled(plain_desc(data.dims), data.dims, data.values);
        primitive.args[DNNL_ARG_DST] =
            chain->sum ? summed(workload, i, desc.dst_desc()) : memory(desc.dst_desc(), engine_);
        primitives_.push_back(std::move(primitive));
        return {};
    }

    algorithm algorithm_;
    dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
    dnnl::stream stream_{engine_};
    std::vector<Primitive> primitives_;
    bool reads_planes_ = false;  // the first one reads NCHW
    std::optional<Reorder> before_{}, behind_{};
};

}  // namespace

bool have_onednn() noexcept { return true; }

std::string onednn_version() {
    const dnnl_version_t* const version = dnnl_version();
    return fmt::format("{}.{}.{}", version->major, version->minor, version->patch);
}

Status limit_onednn(Isa isa) {
    using dnnl::cpu_isa;
    const cpu_isa level = has_amx(isa)                      ? cpu_isa::avx512_core_amx
                          : has_bf16(isa)                   ? cpu_isa::avx512_core_bf16
                          : is_avx512(isa) && has_vnni(isa) ? cpu_isa::avx512_core_vnni
                          : is_avx512(isa)                  ? cpu_isa::avx512_core
                          : has_vnni(isa)                   ? cpu_isa::avx2_vnni
                                                            : cpu_isa::avx2;
    if (dnnl::set_max_cpu_isa(level) == dnnl::status::success) return {};
    return Error{
        ErrorCode::unsupported,
        fmt::format(
            "oneDNN could not be limited to {}: it was in use already, or its build does not allow it.",
            to_string(isa))};
}

std::unique_ptr<Contender> make_onednn_contender(bool automatic) {
    return std::make_unique<OneDnnContender>(automatic);
}

#endif

}  // namespace tandem::tool
