// Calls of kernels, and weights, as the C++ API takes them.
#pragma once

#include <vector>

#include "core/c_api/guard.hpp"
#include "tandem/kernel.hpp"

namespace tandem::c_api {

/// Does not allocate on success.
Status read_args(const tandem_args* args, Args& to);

/// An array of `count` structs that lie struct_size apart.
Result<std::vector<StageWeights>> read_stages(const tandem_stage_weights* stages, std::size_t count);

}  // namespace tandem::c_api
