// Layers that Tandem is measured on, as data: name, network, pair text. A layer's name is its own in all
// suites.
#pragma once

#include <span>
#include <string_view>
#include <vector>

namespace tandem::tool {

struct Layer {
    std::string_view name, network, pair;
};

struct Suite {
    std::string_view name, description;
    std::vector<Layer> layers;
};

/// paper (all 33), paper-dw (27 depthwise + 1x1), paper-dense (6 of ResNet), then one for each further
/// network.
const std::vector<Suite>& suites();
/// Null for an unknown name.
const Suite* find_suite(std::string_view name);
/// The layer of that name in any suite; null for an unknown name.
const Layer* find_layer(std::string_view name);

}  // namespace tandem::tool
