#include "process/small_kernels.hpp"

namespace tandem::test {
namespace {

// Small integers in a pattern.
void fill(DataType type, std::vector<std::byte>& tensor, std::size_t count) {
    tensor.resize(count * static_cast<std::size_t>(element_bytes(type)));
    for (std::size_t i = 0; i < count; ++i)
        store_element(type, tensor.data(), i, static_cast<float>(i * 7 % 5));
}

std::size_t elements(const TensorShape& shape, const TensorView& view) {
    return static_cast<std::size_t>(element_count(shape, view));
}

}  // namespace

const std::vector<std::string>& chains_of_all_kinds() {
    static const std::vector<std::string> chains{
        "1x32x14x14:dw3:conv1o24",
        "2x16x9x9:dw3+bias+relu6:conv1o32/nchw16c",
        "1x32x12x12:conv3o32:conv3o32/nchw16c",
        "1x48x8x8:conv1o96+hswish:dw5s2:conv1o24+bias",
        "1x64x8x8:conv3o64+gelu_erf:conv1o64",
        "1x32x9x11:conv1x7o32:conv7x1o32",
        "1x32x10x10:dw3:conv1o64/bf16",
        "1x32x10x10:dw3:conv1o64/f16",
        "1x32x10x10:conv3o32:conv1o64/u8",
        "1x256x4x4:dw3:conv1o256",
    };
    return chains;
}

SmallWeights::SmallWeights(const ConvChain& chain) {
    std::int64_t channels = chain.input.c;
    for (const Conv& conv : chain.stages()) {
        const bool depthwise = conv.kind == ConvKind::depthwise;
        const std::int64_t outputs = depthwise ? channels * conv.multiplier : conv.out_channels;
        add(chain, conv, depthwise ? 1 : channels, outputs);
        channels = outputs;
    }
}

void SmallWeights::add(const ConvChain& chain, const Conv& conv, std::int64_t inputs, std::int64_t outputs) {
    Stage stage;
    const std::int64_t count = outputs * inputs * conv.kernel.h * conv.kernel.w;
    for (std::int64_t i = 0; i < count; ++i) {
        stage.weights.push_back(static_cast<float>(i * 5 % 3) - 1);
        stage.quantized.push_back(static_cast<std::int8_t>(i * 5 % 3));
    }
    stage.per_channel.assign(static_cast<std::size_t>(outputs), 1.0f);
    const Stage& kept = *plain_.emplace_back(std::make_unique<const Stage>(std::move(stage)));
    StageWeights spans{};
    if (is_quantized(chain.dtype)) {
        spans.quantized_weights = kept.quantized;
        spans.weight_scales = kept.per_channel;
    } else {
        spans.weights = kept.weights;
    }
    if (conv.has(PostOpKind::bias)) spans.bias = kept.per_channel;
    stages_.push_back(spans);
}

SmallCall::SmallCall(const Kernel& kernel, const ConvChain& chain) {
    weights_ = *kernel.pack(SmallWeights(chain).stages());
    fill(kernel.input_dtype(), input_, elements(kernel.input_shape(), kernel.input_view()));
    fill(kernel.output_dtype(), output_, elements(kernel.output_shape(), kernel.output_view()));
    residuals_.resize(max_stages);
    for (int i = 0; i < max_stages; ++i)
        if (kernel.residual_shape(i).c > 0)
            fill(kernel.residual_dtype(i), residuals_[static_cast<std::size_t>(i)],
                 elements(kernel.residual_shape(i), kernel.residual_view(i)));
}

Args SmallCall::args() noexcept {
    Args args{.input = input_.data(), .output = output_.data(), .weights = &weights_};
    for (std::size_t i = 0; i < residuals_.size(); ++i)
        if (!residuals_[i].empty()) args.residual[i] = residuals_[i].data();
    return args;
}

}  // namespace tandem::test
