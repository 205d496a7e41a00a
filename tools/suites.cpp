#include "tools/suites.hpp"

#include <algorithm>
#include <array>

namespace tandem::tool {

namespace {

// The depthwise + 1x1 layers first, then the dense ones.
constexpr std::size_t depthwise_layers = 27;
constexpr std::array<Layer, 33> paper_layers{{
    {"mv1_1",        "MobileNet-V1", "1x32x112x112:dw3+bias+relu6:conv1o64+bias+relu6"},
    {"mv1_2",        "MobileNet-V1", "1x64x112x112:dw3s2+bias+relu6:conv1o128+bias+relu6"},
    {"mv1_3",        "MobileNet-V1", "1x128x56x56:dw3+bias+relu6:conv1o128+bias+relu6"},
    {"mv1_4",        "MobileNet-V1", "1x128x56x56:dw3s2+bias+relu6:conv1o256+bias+relu6"},
    {"mv1_5",        "MobileNet-V1", "1x256x28x28:dw3+bias+relu6:conv1o256+bias+relu6"},
    {"mv1_6",        "MobileNet-V1", "1x256x28x28:dw3s2+bias+relu6:conv1o512+bias+relu6"},
    {"mv1_7-11",     "MobileNet-V1", "1x512x14x14:dw3+bias+relu6:conv1o512+bias+relu6"},
    {"mv1_12",       "MobileNet-V1", "1x512x14x14:dw3s2+bias+relu6:conv1o1024+bias+relu6"},
    {"mv1_13",       "MobileNet-V1", "1x1024x7x7:dw3+bias+relu6:conv1o1024+bias+relu6"},
    {"mv2_1",        "MobileNet-V2", "1x32x112x112:dw3+bias+relu6:conv1o16+bias"},
    {"mv2_2_1",      "MobileNet-V2", "1x96x112x112:dw3s2+bias+relu6:conv1o24+bias"},
    {"mv2_2_2",      "MobileNet-V2", "1x144x56x56:dw3+bias+relu6:conv1o24+bias"},
    {"mv2_3_1",      "MobileNet-V2", "1x144x56x56:dw3s2+bias+relu6:conv1o32+bias"},
    {"mv2_3_2",      "MobileNet-V2", "1x192x28x28:dw3+bias+relu6:conv1o32+bias"},
    {"mv2_4_1",      "MobileNet-V2", "1x192x28x28:dw3s2+bias+relu6:conv1o64+bias"},
    {"mv2_4_2",      "MobileNet-V2", "1x384x14x14:dw3+bias+relu6:conv1o64+bias"},
    {"mv2_5_1",      "MobileNet-V2", "1x384x14x14:dw3+bias+relu6:conv1o96+bias"},
    {"mv2_5_2",      "MobileNet-V2", "1x576x14x14:dw3+bias+relu6:conv1o96+bias"},
    {"mv2_6_1",      "MobileNet-V2", "1x576x14x14:dw3s2+bias+relu6:conv1o160+bias"},
    {"mv2_6_2",      "MobileNet-V2", "1x960x7x7:dw3+bias+relu6:conv1o160+bias"},
    {"mv2_7",        "MobileNet-V2", "1x960x7x7:dw3+bias+relu6:conv1o320+bias"},
    {"mna1_1",       "MNasNet-A1",   "1x32x112x112:dw3+bias+relu:conv1o16+bias"},
    {"mna1_2_1",     "MNasNet-A1",   "1x96x112x112:dw3s2+bias+relu:conv1o24+bias"},
    {"mna1_2_2",     "MNasNet-A1",   "1x144x56x56:dw3+bias+relu:conv1o24+bias"},
    {"mna1_4_1",     "MNasNet-A1",   "1x240x28x28:dw3s2+bias+relu:conv1o80+bias"},
    {"mna1_4_2",     "MNasNet-A1",   "1x480x14x14:dw3+bias+relu:conv1o80+bias"},
    {"mna1_7",       "MNasNet-A1",   "1x960x7x7:dw3+bias+relu:conv1o320+bias"},
    {"res_2x",       "ResNet-18",    "1x64x56x56:conv3o64+bias+relu:conv3o64+bias+relu"},
    {"res_3x",       "ResNet-18",    "1x128x28x28:conv3o128+bias+relu:conv3o128+bias+relu"},
    {"res_2x_s2",    "ResNet-18",    "1x64x56x56:conv3o64s2+bias+relu:conv3o64+bias+relu"},
    {"res_3x_s2",    "ResNet-18",    "1x128x28x28:conv3o128s2+bias+relu:conv3o128+bias+relu"},
    {"res_2x_b_2",   "ResNet-50",    "1x64x56x56:conv3o64+bias+relu:conv1o256+bias+relu"},
    {"res_3x_b_2",   "ResNet-50",    "1x128x28x28:conv3o128+bias+relu:conv1o512+bias+relu"},
}};

std::vector<Layer> layers(std::size_t from, std::size_t to) { return {paper_layers.begin() + from, paper_layers.begin() + to}; }

}  // namespace

const std::vector<Suite>& suites() {
    static const std::vector<Suite> all{
        {"paper", "every layer of the paper", layers(0, paper_layers.size())},
        {"paper-dw", "depthwise 3x3, then 1x1: MobileNet-V1, MobileNet-V2, MNasNet-A1", layers(0, depthwise_layers)},
        {"paper-dense", "dense 3x3, then 3x3 or 1x1: ResNet-18, ResNet-50", layers(depthwise_layers, paper_layers.size())},
    };
    return all;
}

const Suite* find_suite(std::string_view name) {
    const auto found = std::find_if(suites().begin(), suites().end(), [&](const Suite& suite) { return suite.name == name; });
    return found == suites().end() ? nullptr : &*found;
}

}  // namespace tandem::tool
