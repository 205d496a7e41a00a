#include "tools/onednn_pair.hpp"

#include <fmt/format.h>

#if TANDEM_HAVE_ONEDNN
#include <oneapi/dnnl/dnnl.hpp>

#include <algorithm>
#include <cstring>
#include <optional>
#include <unordered_map>
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

memory::desc plain_desc(const Dims& dims) {
    constexpr memory::format_tag tags[] = {memory::format_tag::a, memory::format_tag::ab, memory::format_tag::abc,
                                           memory::format_tag::abcd, memory::format_tag::abcde};
    return {dims, memory::data_type::f32, tags[dims.size() - 1]};
}

memory::desc any_desc(const Dims& dims) { return {dims, memory::data_type::f32, memory::format_tag::any}; }

Dims dims_of(const TensorShape& shape) { return {shape.n, shape.c, shape.h, shape.w}; }

/// One convolution: the primitive and the memory it is run with.
struct Primitive {
    dnnl::convolution_forward::primitive_desc desc;
    dnnl::convolution_forward convolution;
    std::unordered_map<int, memory> args;
};

/// Where the data of a post-op that has some comes from.
struct PostOpData {
    int argument;
    Dims dims;
    std::span<const float> values;
};

/// A stage's chain in oneDNN's terms.
struct Chain {
    dnnl::post_ops ops;
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
    void per_channel(algorithm kind, std::int64_t channels, std::span<const float> values) {
        const Dims dims{1, channels, 1, 1};
        data.push_back({DNNL_ARG_ATTR_MULTIPLE_POST_OP(ops.len()) | DNNL_ARG_SRC_1, dims, values});
        ops.append_binary(kind, plain_desc(dims));
    }
};

constexpr float sixth = 1.0f / 6;

/// True where the post-op is one elementwise function.
bool append_eltwise(Chain& chain, const PostOp& op) {
    switch (op.kind) {
        case PostOpKind::relu: chain.eltwise(algorithm::eltwise_relu); return true;
        case PostOpKind::relu6: chain.eltwise(algorithm::eltwise_clip, 0, 6); return true;
        case PostOpKind::leaky: chain.eltwise(algorithm::eltwise_relu, op.alpha); return true;
        case PostOpKind::clip: chain.eltwise(algorithm::eltwise_clip, op.alpha, op.beta); return true;
        case PostOpKind::sigmoid: chain.eltwise(algorithm::eltwise_logistic); return true;
        case PostOpKind::tanh: chain.eltwise(algorithm::eltwise_tanh); return true;
        case PostOpKind::swish: chain.eltwise(algorithm::eltwise_swish, 1); return true;
        case PostOpKind::elu: chain.eltwise(algorithm::eltwise_elu, op.alpha); return true;
        case PostOpKind::gelu_erf: chain.eltwise(algorithm::eltwise_gelu_erf); return true;
        case PostOpKind::gelu_tanh: chain.eltwise(algorithm::eltwise_gelu_tanh); return true;
        case PostOpKind::hsigmoid:  // 2.6 has no hardsigmoid
            chain.eltwise(algorithm::eltwise_linear, sixth, 0.5f);
            chain.eltwise(algorithm::eltwise_clip, 0, 1);
            return true;
        case PostOpKind::hswish: chain.eltwise(algorithm::eltwise_hardswish, sixth, 0.5f); return true;
        default: return false;
    }
}

Result<Chain> make_chain(const Stage& stage, const StageWeights& weights) {
    Chain chain;
    for (int i = 0; i < stage.conv.post_op_count; ++i) {
        const PostOp& op = stage.conv.post_ops[static_cast<std::size_t>(i)];
        if (append_eltwise(chain, op)) continue;
        switch (op.kind) {
            case PostOpKind::bias:
                if (i == 0)
                    chain.bias = true;
                else
                    chain.per_channel(algorithm::binary_add, stage.out_channels, weights.bias);
                break;
            case PostOpKind::scale: chain.per_channel(algorithm::binary_mul, stage.out_channels, weights.scale); break;
            case PostOpKind::prelu:
                chain.data.push_back({DNNL_ARG_ATTR_MULTIPLE_POST_OP(chain.ops.len()) | DNNL_ARG_WEIGHTS,
                                      Dims{1, stage.out_channels, 1, 1}, weights.prelu});
                chain.ops.append_prelu(1 << 1);
                break;
            case PostOpKind::sum:
                if (stage.residual_channels() != stage.out_channels)
                    return Error{ErrorCode::unsupported,
                                 fmt::format("oneDNN's sum takes a residual of all {} output channels; this one has {}.",
                                             stage.out_channels, stage.residual_channels())};
                chain.sum = true;
                chain.ops.append_sum(1.0f);
                break;
            default: return Error{ErrorCode::unsupported, fmt::format("oneDNN has no post-op '{}'.", to_string(op.kind))};
        }
    }
    return chain;
}

Dims weight_dims(const Stage& stage) {
    const Size2 kernel = stage.conv.kernel;
    if (stage.depthwise()) return {stage.in_channels, stage.conv.multiplier, 1, kernel.h, kernel.w};
    return {stage.out_channels, stage.in_channels, kernel.h, kernel.w};
}

class OneDnnContender final : public Contender {
public:
    explicit OneDnnContender(bool automatic) : algorithm_(automatic ? algorithm::convolution_auto : algorithm::convolution_direct) {}

    Result<std::vector<float>> prepare(const Workload& workload) override try {
        const Problem& problem = workload.problem;
        for (int i = 0; i < problem.stage_count; ++i)
            if (const Status status = add(workload, i); !status) return status.error();
        run_all();
        const memory& output = primitives_.back().args.at(DNNL_ARG_DST);
        const TensorShape shape = problem.output_shape(problem.stage_count - 1);
        std::vector<float> plain(static_cast<std::size_t>(shape.n * shape.c * shape.h * shape.w));
        copy(output, memory(plain_desc(dims_of(shape)), engine_, plain.data()));
        return plain;
    } catch (const dnnl::error& error) {
        return Error{ErrorCode::unsupported, fmt::format("oneDNN has no primitive for this layer: {}.", error.what())};
    }

    void run() noexcept override { run_all(); }

    std::vector<std::string> description() const override {
        std::vector<std::string> names;
        for (const Primitive& primitive : primitives_) names.emplace_back(primitive.desc.impl_info_str());
        return names;
    }

private:
    void run_all() {
        for (const Primitive& primitive : primitives_) primitive.convolution.execute(stream_, primitive.args);
        stream_.wait();
    }

    void copy(memory from, memory to) {
        dnnl::reorder(from, to).execute(stream_, from, to);
        stream_.wait();
    }

    memory filled(const memory::desc& desc, const Dims& dims, std::span<const float> values) {
        memory result(desc, engine_);
        copy(memory(plain_desc(dims), engine_, const_cast<float*>(values.data())), result);
        return result;
    }

    dnnl::convolution_forward::primitive_desc describe(const Problem& problem, int i, const Chain& chain) const {
        const Stage& stage = problem.stage(i);
        const memory::desc source = i == 0 ? any_desc(dims_of(problem.input_shape())) : primitives_.back().desc.dst_desc();
        const memory::desc weights = any_desc(weight_dims(stage)), output = any_desc(dims_of(problem.output_shape(i)));
        const memory::desc bias = chain.bias ? plain_desc({stage.out_channels}) : memory::desc();
        const Dims strides{stage.conv.stride.h, stage.conv.stride.w};
        const Dims dilation{stage.conv.dilation.h - 1, stage.conv.dilation.w - 1};
        const Dims before{stage.padding.top, stage.padding.left}, after{stage.padding.bottom, stage.padding.right};
        dnnl::primitive_attr attributes;
        attributes.set_post_ops(chain.ops);
        const auto kind = dnnl::prop_kind::forward_inference;
#if DNNL_VERSION_MAJOR >= 3
        return {engine_, kind, algorithm_, source, weights, bias, output, strides, dilation, before, after, attributes};
#else
        const dnnl::convolution_forward::desc convolution =
            chain.bias
                ? dnnl::convolution_forward::desc(kind, algorithm_, source, weights, bias, output, strides, dilation, before, after)
                : dnnl::convolution_forward::desc(kind, algorithm_, source, weights, output, strides, dilation, before, after);
        return {convolution, attributes, engine_};
#endif
    }

    Status add(const Workload& workload, int i) {
        const Problem& problem = workload.problem;
        const Stage& stage = problem.stage(i);
        const StageWeights weights = workload.data.stages[static_cast<std::size_t>(i)].view();
        const Result<Chain> chain = make_chain(stage, weights);
        if (!chain) return chain.error();
        const auto desc = describe(problem, i, *chain);
        Primitive primitive{desc, dnnl::convolution_forward(desc), {}};
        primitive.args[DNNL_ARG_SRC] = i == 0 ? filled(desc.src_desc(), dims_of(problem.input_shape()), workload.input_nchw)
                                              : primitives_.back().args.at(DNNL_ARG_DST);
        primitive.args[DNNL_ARG_WEIGHTS] = filled(desc.weights_desc(), weight_dims(stage), weights.weights);
        if (chain->bias) primitive.args[DNNL_ARG_BIAS] = filled(desc.bias_desc(), {stage.out_channels}, weights.bias);
        for (const PostOpData& data : chain->data) primitive.args[data.argument] = filled(plain_desc(data.dims), data.dims, data.values);
        // A sum is added to what the output holds, as in a framework; it grows from run to run, which costs no time.
        primitive.args[DNNL_ARG_DST] = chain->sum ? filled(desc.dst_desc(), dims_of(problem.output_shape(i)),
                                                           workload.residual_nchw[static_cast<std::size_t>(i)])
                                                  : memory(desc.dst_desc(), engine_);
        primitives_.push_back(std::move(primitive));
        return {};
    }

    algorithm algorithm_;
    dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
    dnnl::stream stream_{engine_};
    std::vector<Primitive> primitives_;
};

}  // namespace

bool have_onednn() noexcept { return true; }

std::string onednn_version() {
    const dnnl_version_t* const version = dnnl_version();
    return fmt::format("{}.{}.{}", version->major, version->minor, version->patch);
}

Status limit_onednn(Isa isa) {
    if (is_avx512(isa)) return {};
    if (dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx2) == dnnl::status::success) return {};
    return Error{ErrorCode::unsupported, "oneDNN could not be limited to avx2: it was in use already, or its build does not allow it."};
}

std::unique_ptr<Contender> make_onednn_contender(bool automatic) { return std::make_unique<OneDnnContender>(automatic); }

#endif

}  // namespace tandem::tool
