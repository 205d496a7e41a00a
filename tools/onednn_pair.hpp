// oneDNN's side of `tandem bench`: a layer's convolutions as separate primitives, the way a framework runs
// them.
//
// Every tensor is in the layout oneDNN prefers (format "any"), the second primitive reads what the first
// wrote, activations are its own post-ops, and no reorder is timed, but where Tandem reads or writes NCHW:
// there the first primitive reads it too, or a reorder in front where it would be oneDNN's reference code
// that does, and a reorder behind the last writes it. Quantised: u8 or s8 tensors, s8 weights, one scale a
// channel; the scale of a quantised output is part of it wherever the post-ops allow that. Compiles against
// oneDNN 2.6 and 3.x; without oneDNN only have_onednn() is left.
#pragma once

#include <memory>
#include <string>

#include "tools/contender.hpp"

namespace tandem::tool {

bool have_onednn() noexcept;
/// Of the library that is loaded, e.g. "2.6.3"; empty without oneDNN.
std::string onednn_version();
/// Makes oneDNN use nothing beyond its level of that name. To be called before any other use of oneDNN in
/// the process.
Status limit_onednn(Isa isa);
/// `automatic`: oneDNN chooses the algorithm, Winograd included, instead of direct convolution. Null
/// without oneDNN.
std::unique_ptr<Contender> make_onednn_contender(bool automatic);

}  // namespace tandem::tool
