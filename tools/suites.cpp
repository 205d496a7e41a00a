// Where the layers come from:
//   EfficientNet-Lite0   Tan, Le: EfficientNet, ICML 2019 (arXiv:1905.11946); Lite: Liu, "Higher accuracy
//                        on vision models with EfficientNet-Lite", TensorFlow blog 2020: relu6, no
//                        squeeze-and-excite
//   MobileNet-V3-Large   Howard et al.: Searching for MobileNetV3, ICCV 2019 (arXiv:1905.02244)
//   ProxylessNAS-mobile  Cai, Zhu, Han: ProxylessNAS, ICLR 2019 (arXiv:1812.00332)
//   BlazeFace            Bazarevsky et al.: BlazeFace, CV4ARVR 2019 (arXiv:1907.05047)
//   Inception-v3         Szegedy et al.: Rethinking the Inception architecture, CVPR 2016
//                        (arXiv:1512.00567)
//   VGG-16               Simonyan, Zisserman: Very deep convolutional networks, ICLR 2015 (arXiv:1409.1556)
// Batch normalisation is folded into weights and bias. Inputs are 224x224 (BlazeFace 128x128, Inception-v3
// 299x299), "same" padding is symmetric unless said otherwise, and a pair that a network has several times
// is listed once, but for MobileNet-V2's 17 blocks. Pairs leave the residuals of inverted bottlenecks out, as
// the paper's layers do; BlazeFace has them, before its activation.
#include "tools/suites.hpp"

#include <algorithm>
#include <array>
#include <span>

namespace tandem::tool {

namespace {

// The depthwise + 1x1 layers first, then the dense ones.
constexpr std::size_t depthwise_layers = 27;
constexpr std::array<Layer, 33> paper_layers{{
    {"mv1_1", "MobileNet-V1", "1x32x112x112:dw3+bias+relu6:conv1o64+bias+relu6"},
    {"mv1_2", "MobileNet-V1", "1x64x112x112:dw3s2+bias+relu6:conv1o128+bias+relu6"},
    {"mv1_3", "MobileNet-V1", "1x128x56x56:dw3+bias+relu6:conv1o128+bias+relu6"},
    {"mv1_4", "MobileNet-V1", "1x128x56x56:dw3s2+bias+relu6:conv1o256+bias+relu6"},
    {"mv1_5", "MobileNet-V1", "1x256x28x28:dw3+bias+relu6:conv1o256+bias+relu6"},
    {"mv1_6", "MobileNet-V1", "1x256x28x28:dw3s2+bias+relu6:conv1o512+bias+relu6"},
    {"mv1_7-11", "MobileNet-V1", "1x512x14x14:dw3+bias+relu6:conv1o512+bias+relu6"},
    {"mv1_12", "MobileNet-V1", "1x512x14x14:dw3s2+bias+relu6:conv1o1024+bias+relu6"},
    {"mv1_13", "MobileNet-V1", "1x1024x7x7:dw3+bias+relu6:conv1o1024+bias+relu6"},
    {"mv2_1", "MobileNet-V2", "1x32x112x112:dw3+bias+relu6:conv1o16+bias"},
    {"mv2_2_1", "MobileNet-V2", "1x96x112x112:dw3s2+bias+relu6:conv1o24+bias"},
    {"mv2_2_2", "MobileNet-V2", "1x144x56x56:dw3+bias+relu6:conv1o24+bias"},
    {"mv2_3_1", "MobileNet-V2", "1x144x56x56:dw3s2+bias+relu6:conv1o32+bias"},
    {"mv2_3_2", "MobileNet-V2", "1x192x28x28:dw3+bias+relu6:conv1o32+bias"},
    {"mv2_4_1", "MobileNet-V2", "1x192x28x28:dw3s2+bias+relu6:conv1o64+bias"},
    {"mv2_4_2", "MobileNet-V2", "1x384x14x14:dw3+bias+relu6:conv1o64+bias"},
    {"mv2_5_1", "MobileNet-V2", "1x384x14x14:dw3+bias+relu6:conv1o96+bias"},
    {"mv2_5_2", "MobileNet-V2", "1x576x14x14:dw3+bias+relu6:conv1o96+bias"},
    {"mv2_6_1", "MobileNet-V2", "1x576x14x14:dw3s2+bias+relu6:conv1o160+bias"},
    {"mv2_6_2", "MobileNet-V2", "1x960x7x7:dw3+bias+relu6:conv1o160+bias"},
    {"mv2_7", "MobileNet-V2", "1x960x7x7:dw3+bias+relu6:conv1o320+bias"},
    {"mna1_1", "MNasNet-A1", "1x32x112x112:dw3+bias+relu:conv1o16+bias"},
    {"mna1_2_1", "MNasNet-A1", "1x96x112x112:dw3s2+bias+relu:conv1o24+bias"},
    {"mna1_2_2", "MNasNet-A1", "1x144x56x56:dw3+bias+relu:conv1o24+bias"},
    {"mna1_4_1", "MNasNet-A1", "1x240x28x28:dw3s2+bias+relu:conv1o80+bias"},
    {"mna1_4_2", "MNasNet-A1", "1x480x14x14:dw3+bias+relu:conv1o80+bias"},
    {"mna1_7", "MNasNet-A1", "1x960x7x7:dw3+bias+relu:conv1o320+bias"},
    {"res_2x", "ResNet-18", "1x64x56x56:conv3o64+bias+relu:conv3o64+bias+relu"},
    {"res_3x", "ResNet-18", "1x128x28x28:conv3o128+bias+relu:conv3o128+bias+relu"},
    {"res_2x_s2", "ResNet-18", "1x64x56x56:conv3o64s2+bias+relu:conv3o64+bias+relu"},
    {"res_3x_s2", "ResNet-18", "1x128x28x28:conv3o128s2+bias+relu:conv3o128+bias+relu"},
    {"res_2x_b_2", "ResNet-50", "1x64x56x56:conv3o64+bias+relu:conv1o256+bias+relu"},
    {"res_3x_b_2", "ResNet-50", "1x128x28x28:conv3o128+bias+relu:conv1o512+bias+relu"},
}};

// Stages of Table 2 of the EfficientNet paper, without squeeze-and-excite. The released model is
// TensorFlow's: with stride 2 its "same" puts the odd row and column of padding at the end.
constexpr std::array<Layer, 12> efficientnet_lite_layers{{
    {"el0_1", "EfficientNet-Lite0", "1x32x112x112:dw3+bias+relu6:conv1o16+bias"},
    {"el0_2_1", "EfficientNet-Lite0", "1x96x112x112:dw3s2p0x0x1x1+bias+relu6:conv1o24+bias"},
    {"el0_2_2", "EfficientNet-Lite0", "1x144x56x56:dw3+bias+relu6:conv1o24+bias"},
    {"el0_3_1", "EfficientNet-Lite0", "1x144x56x56:dw5s2p1x1x2x2+bias+relu6:conv1o40+bias"},
    {"el0_3_2", "EfficientNet-Lite0", "1x240x28x28:dw5+bias+relu6:conv1o40+bias"},
    {"el0_4_1", "EfficientNet-Lite0", "1x240x28x28:dw3s2p0x0x1x1+bias+relu6:conv1o80+bias"},
    {"el0_4_2", "EfficientNet-Lite0", "1x480x14x14:dw3+bias+relu6:conv1o80+bias"},
    {"el0_5_1", "EfficientNet-Lite0", "1x480x14x14:dw5+bias+relu6:conv1o112+bias"},
    {"el0_5_2", "EfficientNet-Lite0", "1x672x14x14:dw5+bias+relu6:conv1o112+bias"},
    {"el0_6_1", "EfficientNet-Lite0", "1x672x14x14:dw5s2p1x1x2x2+bias+relu6:conv1o192+bias"},
    {"el0_6_2", "EfficientNet-Lite0", "1x1152x7x7:dw5+bias+relu6:conv1o192+bias"},
    {"el0_7", "EfficientNet-Lite0", "1x1152x7x7:dw3+bias+relu6:conv1o320+bias"},
}};

// Bottlenecks of Table 1 whose "SE" column is empty, by row.
constexpr std::array<Layer, 6> mobilenetv3_layers{{
    {"mv3_1", "MobileNet-V3-L", "1x16x112x112:dw3+bias+relu:conv1o16+bias"},
    {"mv3_2", "MobileNet-V3-L", "1x64x112x112:dw3s2+bias+relu:conv1o24+bias"},
    {"mv3_3", "MobileNet-V3-L", "1x72x56x56:dw3+bias+relu:conv1o24+bias"},
    {"mv3_7", "MobileNet-V3-L", "1x240x28x28:dw3s2+bias+hswish:conv1o80+bias"},
    {"mv3_8", "MobileNet-V3-L", "1x200x14x14:dw3+bias+hswish:conv1o80+bias"},
    {"mv3_9-10", "MobileNet-V3-L", "1x184x14x14:dw3+bias+hswish:conv1o80+bias"},
}};

// The mobile network of the released models.
constexpr std::array<Layer, 14> proxyless_layers{{
    {"pxl_1", "ProxylessNAS-mobile", "1x32x112x112:dw3+bias+relu6:conv1o16+bias"},
    {"pxl_2_1", "ProxylessNAS-mobile", "1x48x112x112:dw5s2+bias+relu6:conv1o32+bias"},
    {"pxl_2_2", "ProxylessNAS-mobile", "1x96x56x56:dw3+bias+relu6:conv1o32+bias"},
    {"pxl_3_1", "ProxylessNAS-mobile", "1x96x56x56:dw7s2+bias+relu6:conv1o40+bias"},
    {"pxl_3_2", "ProxylessNAS-mobile", "1x120x28x28:dw3+bias+relu6:conv1o40+bias"},
    {"pxl_3_3", "ProxylessNAS-mobile", "1x120x28x28:dw5+bias+relu6:conv1o40+bias"},
    {"pxl_4_1", "ProxylessNAS-mobile", "1x240x28x28:dw7s2+bias+relu6:conv1o80+bias"},
    {"pxl_4_2", "ProxylessNAS-mobile", "1x240x14x14:dw5+bias+relu6:conv1o80+bias"},
    {"pxl_5_1", "ProxylessNAS-mobile", "1x480x14x14:dw5+bias+relu6:conv1o96+bias"},
    {"pxl_5_2", "ProxylessNAS-mobile", "1x288x14x14:dw5+bias+relu6:conv1o96+bias"},
    {"pxl_6_1", "ProxylessNAS-mobile", "1x576x14x14:dw7s2+bias+relu6:conv1o192+bias"},
    {"pxl_6_2", "ProxylessNAS-mobile", "1x1152x7x7:dw7+bias+relu6:conv1o192+bias"},
    {"pxl_6_3", "ProxylessNAS-mobile", "1x576x7x7:dw7+bias+relu6:conv1o192+bias"},
    {"pxl_7", "ProxylessNAS-mobile", "1x1152x7x7:dw7+bias+relu6:conv1o320+bias"},
}};

// Blocks of Table 1, by row; double blocks are two pairs, a and b. What a block adds to its end is its
// input, max-pooled with stride 2, and has fewer channels than the output where the block widens. A pair that
// is a whole block with stride 1 adds its own input.
constexpr std::array<Layer, 10> blazeface_layers{{
    {"bf_1", "BlazeFace", "1x24x64x64:dw5+bias:conv1o24+bias+sum(in)+relu"},
    {"bf_3", "BlazeFace", "1x24x64x64:dw5s2p1x1x2x2+bias:conv1o48+bias+sum(24)+relu"},
    {"bf_4", "BlazeFace", "1x48x32x32:dw5+bias:conv1o48+bias+sum(in)+relu"},
    {"bf_6a", "BlazeFace", "1x48x32x32:dw5s2p1x1x2x2+bias:conv1o24+bias+relu"},
    {"bf_6b", "BlazeFace", "1x24x16x16:dw5+bias:conv1o96+bias+sum(48)+relu"},
    {"bf_7a", "BlazeFace", "1x96x16x16:dw5+bias:conv1o24+bias+relu"},
    {"bf_7b", "BlazeFace", "1x24x16x16:dw5+bias:conv1o96+bias+sum+relu"},
    {"bf_9a", "BlazeFace", "1x96x16x16:dw5s2p1x1x2x2+bias:conv1o24+bias+relu"},
    {"bf_9b", "BlazeFace", "1x24x8x8:dw5+bias:conv1o96+bias+sum+relu"},
    {"bf_10a", "BlazeFace", "1x96x8x8:dw5+bias:conv1o24+bias+relu"},
}};

// 17x17: a is the branch of two factorised convolutions, b and c the halves of the branch of four (of 192
// channels they are alike). red: the last two convolutions of a branch that reduces the grid. 8x8: the 3x3
// is read by a 1x3 and a 3x1 side by side; each of the two is a pair with it here.
constexpr std::array<Layer, 13> inception_layers{{
    {"inc_35_3x3", "Inception-v3", "1x64x35x35:conv3o96+bias+relu:conv3o96+bias+relu"},
    {"inc_35_red", "Inception-v3", "1x64x35x35:conv3o96+bias+relu:conv3o96s2p0+bias+relu"},
    {"inc_17_128_a", "Inception-v3", "1x128x17x17:conv1x7o128+bias+relu:conv7x1o192+bias+relu"},
    {"inc_17_128_b", "Inception-v3", "1x128x17x17:conv7x1o128+bias+relu:conv1x7o128+bias+relu"},
    {"inc_17_128_c", "Inception-v3", "1x128x17x17:conv7x1o128+bias+relu:conv1x7o192+bias+relu"},
    {"inc_17_160_a", "Inception-v3", "1x160x17x17:conv1x7o160+bias+relu:conv7x1o192+bias+relu"},
    {"inc_17_160_b", "Inception-v3", "1x160x17x17:conv7x1o160+bias+relu:conv1x7o160+bias+relu"},
    {"inc_17_160_c", "Inception-v3", "1x160x17x17:conv7x1o160+bias+relu:conv1x7o192+bias+relu"},
    {"inc_17_192_a", "Inception-v3", "1x192x17x17:conv1x7o192+bias+relu:conv7x1o192+bias+relu"},
    {"inc_17_192_c", "Inception-v3", "1x192x17x17:conv7x1o192+bias+relu:conv1x7o192+bias+relu"},
    {"inc_17_red", "Inception-v3", "1x192x17x17:conv7x1o192+bias+relu:conv3o192s2p0+bias+relu"},
    {"inc_8_1x3", "Inception-v3", "1x448x8x8:conv3o384+bias+relu:conv1x3o384+bias+relu"},
    {"inc_8_3x1", "Inception-v3", "1x448x8x8:conv3o384+bias+relu:conv3x1o384+bias+relu"},
}};

// Neighbours within a block of configuration D; _1: its first two, _2: its last two. conv5's two pairs are
// alike.
constexpr std::array<Layer, 7> vgg_layers{{
    {"vgg_1", "VGG-16", "1x3x224x224:conv3o64+bias+relu:conv3o64+bias+relu"},
    {"vgg_2", "VGG-16", "1x64x112x112:conv3o128+bias+relu:conv3o128+bias+relu"},
    {"vgg_3_1", "VGG-16", "1x128x56x56:conv3o256+bias+relu:conv3o256+bias+relu"},
    {"vgg_3_2", "VGG-16", "1x256x56x56:conv3o256+bias+relu:conv3o256+bias+relu"},
    {"vgg_4_1", "VGG-16", "1x256x28x28:conv3o512+bias+relu:conv3o512+bias+relu"},
    {"vgg_4_2", "VGG-16", "1x512x28x28:conv3o512+bias+relu:conv3o512+bias+relu"},
    {"vgg_5", "VGG-16", "1x512x14x14:conv3o512+bias+relu:conv3o512+bias+relu"},
}};

// Whole blocks: chains of three, residuals included. Squeeze-and-excite cuts those of MNasNet-A1 behind their
// depthwise stage.
constexpr std::array<Layer, 17> mobilenetv2_blocks{{
    {"mv2b_1", "MobileNet-V2", "1x32x112x112:dw3+bias+relu6:conv1o16+bias"},
    {"mv2b_2", "MobileNet-V2", "1x16x112x112:conv1o96+bias+relu6:dw3s2+bias+relu6:conv1o24+bias"},
    {"mv2b_3", "MobileNet-V2", "1x24x56x56:conv1o144+bias+relu6:dw3+bias+relu6:conv1o24+bias+sum(in)"},
    {"mv2b_4", "MobileNet-V2", "1x24x56x56:conv1o144+bias+relu6:dw3s2+bias+relu6:conv1o32+bias"},
    {"mv2b_5", "MobileNet-V2", "1x32x28x28:conv1o192+bias+relu6:dw3+bias+relu6:conv1o32+bias+sum(in)"},
    {"mv2b_6", "MobileNet-V2", "1x32x28x28:conv1o192+bias+relu6:dw3+bias+relu6:conv1o32+bias+sum(in)"},
    {"mv2b_7", "MobileNet-V2", "1x32x28x28:conv1o192+bias+relu6:dw3s2+bias+relu6:conv1o64+bias"},
    {"mv2b_8", "MobileNet-V2", "1x64x14x14:conv1o384+bias+relu6:dw3+bias+relu6:conv1o64+bias+sum(in)"},
    {"mv2b_9", "MobileNet-V2", "1x64x14x14:conv1o384+bias+relu6:dw3+bias+relu6:conv1o64+bias+sum(in)"},
    {"mv2b_10", "MobileNet-V2", "1x64x14x14:conv1o384+bias+relu6:dw3+bias+relu6:conv1o64+bias+sum(in)"},
    {"mv2b_11", "MobileNet-V2", "1x64x14x14:conv1o384+bias+relu6:dw3+bias+relu6:conv1o96+bias"},
    {"mv2b_12", "MobileNet-V2", "1x96x14x14:conv1o576+bias+relu6:dw3+bias+relu6:conv1o96+bias+sum(in)"},
    {"mv2b_13", "MobileNet-V2", "1x96x14x14:conv1o576+bias+relu6:dw3+bias+relu6:conv1o96+bias+sum(in)"},
    {"mv2b_14", "MobileNet-V2", "1x96x14x14:conv1o576+bias+relu6:dw3s2+bias+relu6:conv1o160+bias"},
    {"mv2b_15", "MobileNet-V2", "1x160x7x7:conv1o960+bias+relu6:dw3+bias+relu6:conv1o160+bias+sum(in)"},
    {"mv2b_16", "MobileNet-V2", "1x160x7x7:conv1o960+bias+relu6:dw3+bias+relu6:conv1o160+bias+sum(in)"},
    {"mv2b_17", "MobileNet-V2", "1x160x7x7:conv1o960+bias+relu6:dw3+bias+relu6:conv1o320+bias"},
}};

constexpr std::array<Layer, 10> mnasnet_blocks{{
    {"mnab_2_1", "MNasNet-A1", "1x16x112x112:conv1o96+bias+relu:dw3s2+bias+relu:conv1o24+bias"},
    {"mnab_2_2", "MNasNet-A1", "1x24x56x56:conv1o144+bias+relu:dw3+bias+relu:conv1o24+bias+sum(in)"},
    {"mnab_4_1", "MNasNet-A1", "1x40x28x28:conv1o240+bias+relu:dw3s2+bias+relu:conv1o80+bias"},
    {"mnab_4_2", "MNasNet-A1", "1x80x14x14:conv1o480+bias+relu:dw3+bias+relu:conv1o80+bias+sum(in)"},
    {"mnab_7", "MNasNet-A1", "1x160x7x7:conv1o960+bias+relu:dw3+bias+relu:conv1o320+bias"},
    {"mnab_3_1", "MNasNet-A1", "1x24x56x56:conv1o72+bias+relu:dw5s2+bias+relu"},
    {"mnab_3_2", "MNasNet-A1", "1x40x28x28:conv1o120+bias+relu:dw5+bias+relu"},
    {"mnab_5_1", "MNasNet-A1", "1x80x14x14:conv1o480+bias+relu:dw3+bias+relu"},
    {"mnab_6_1", "MNasNet-A1", "1x112x14x14:conv1o672+bias+relu:dw5s2+bias+relu"},
    {"mnab_6_2", "MNasNet-A1", "1x160x7x7:conv1o960+bias+relu:dw5+bias+relu"},
}};

constexpr std::array<Layer, 11> efficientnet_lite_blocks{{
    {"effb_2_1", "EfficientNet-Lite0", "1x16x112x112:conv1o96+bias+relu6:dw3s2+bias+relu6:conv1o24+bias"},
    {"effb_2_2", "EfficientNet-Lite0",
     "1x24x56x56:conv1o144+bias+relu6:dw3+bias+relu6:conv1o24+bias+sum(in)"},
    {"effb_3_1", "EfficientNet-Lite0", "1x24x56x56:conv1o144+bias+relu6:dw5s2+bias+relu6:conv1o40+bias"},
    {"effb_3_2", "EfficientNet-Lite0",
     "1x40x28x28:conv1o240+bias+relu6:dw5+bias+relu6:conv1o40+bias+sum(in)"},
    {"effb_4_1", "EfficientNet-Lite0", "1x40x28x28:conv1o240+bias+relu6:dw3s2+bias+relu6:conv1o80+bias"},
    {"effb_4_2", "EfficientNet-Lite0",
     "1x80x14x14:conv1o480+bias+relu6:dw3+bias+relu6:conv1o80+bias+sum(in)"},
    {"effb_5_1", "EfficientNet-Lite0", "1x80x14x14:conv1o480+bias+relu6:dw5+bias+relu6:conv1o112+bias"},
    {"effb_5_2", "EfficientNet-Lite0",
     "1x112x14x14:conv1o672+bias+relu6:dw5+bias+relu6:conv1o112+bias+sum(in)"},
    {"effb_6_1", "EfficientNet-Lite0", "1x112x14x14:conv1o672+bias+relu6:dw5s2+bias+relu6:conv1o192+bias"},
    {"effb_6_2", "EfficientNet-Lite0",
     "1x192x7x7:conv1o1152+bias+relu6:dw5+bias+relu6:conv1o192+bias+sum(in)"},
    {"effb_7", "EfficientNet-Lite0", "1x192x7x7:conv1o1152+bias+relu6:dw3+bias+relu6:conv1o320+bias"},
}};

constexpr std::array<Layer, 4> resnet50_bottlenecks{{
    {"rn50b_2", "ResNet-50", "1x256x56x56:conv1o64+bias+relu:conv3o64+bias+relu:conv1o256+bias+sum(in)+relu"},
    {"rn50b_3", "ResNet-50",
     "1x512x28x28:conv1o128+bias+relu:conv3o128+bias+relu:conv1o512+bias+sum(in)+relu"},
    {"rn50b_4", "ResNet-50",
     "1x1024x14x14:conv1o256+bias+relu:conv3o256+bias+relu:conv1o1024+bias+sum(in)+relu"},
    {"rn50b_5", "ResNet-50",
     "1x2048x7x7:conv1o512+bias+relu:conv3o512+bias+relu:conv1o2048+bias+sum(in)+relu"},
}};

template <class Layers>
std::vector<Layer> all_of(const Layers& layers) {
    return {layers.begin(), layers.end()};
}

}  // namespace

const std::vector<Suite>& suites() {
    static const std::vector<Suite> all{
        {"paper", "every layer of the paper", all_of(paper_layers)},
        {"paper-dw", "depthwise 3x3, then 1x1: MobileNet-V1, MobileNet-V2, MNasNet-A1",
         all_of(std::span(paper_layers).first<depthwise_layers>())},
        {"paper-dense", "dense 3x3, then 3x3 or 1x1: ResNet-18, ResNet-50",
         all_of(std::span(paper_layers).subspan<depthwise_layers>())},
        {"efficientnet-lite", "EfficientNet-Lite0: depthwise 3x3 or 5x5, then 1x1",
         all_of(efficientnet_lite_layers)},
        {"mobilenetv3", "MobileNet-V3-Large, blocks without squeeze-and-excite: depthwise 3x3, then 1x1",
         all_of(mobilenetv3_layers)},
        {"proxyless", "ProxylessNAS-mobile: depthwise 3x3, 5x5 or 7x7, then 1x1", all_of(proxyless_layers)},
        {"blazeface", "BlazeFace: depthwise 5x5, then 1x1 with a residual", all_of(blazeface_layers)},
        {"inception", "Inception-v3: 1x7 and 7x1, 3x3 and 3x3, 3x3 and 1x3 or 3x1", all_of(inception_layers)},
        {"vgg", "VGG-16: dense 3x3, then 3x3", all_of(vgg_layers)},
        {"mobilenetv2-blocks", "MobileNet-V2's 17 inverted residuals", all_of(mobilenetv2_blocks)},
        {"mnasnet-blocks", "MNasNet-A1's inverted residuals, cut at squeeze-and-excite",
         all_of(mnasnet_blocks)},
        {"efficientnet-lite-blocks", "EfficientNet-Lite0's inverted residuals",
         all_of(efficientnet_lite_blocks)},
        {"resnet50-bottlenecks", "ResNet-50's bottlenecks: 1x1, 3x3, 1x1, a residual",
         all_of(resnet50_bottlenecks)},
    };
    return all;
}

const Suite* find_suite(std::string_view name) {
    const auto found = std::find_if(suites().begin(), suites().end(),
                                    [&](const Suite& suite) { return suite.name == name; });
    return found == suites().end() ? nullptr : &*found;
}

const Layer* find_layer(std::string_view name) {
    for (const Suite& suite : suites())
        for (const Layer& layer : suite.layers)
            if (layer.name == name) return &layer;
    return nullptr;
}

}  // namespace tandem::tool
