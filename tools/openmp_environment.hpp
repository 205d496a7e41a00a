// oneDNN runs its threads through OpenMP, whose runtime reads the environment once, when it is loaded.
#pragma once

#include "tandem/result.hpp"

namespace tandem::tool {

/// Starts this program anew, with the same arguments, if OpenMP has to be told something: to use `threads`
/// threads, and, with more than one, to let them spin only briefly after work.
///
/// By default idle OpenMP threads spin for milliseconds, on the cores that Tandem's workers need in
/// the next sample. With a short spin (some 0.1 to 0.5 ms: longer than the gap between two primitives) and
/// the pause that `tandem bench` makes before each sample, both sides find the cores free and neither pays
/// for waking its threads within a pair. GOMP_SPINCOUNT, KMP_BLOCKTIME and OMP_WAIT_POLICY from outside are
/// left as they are.
Status set_openmp_environment(int threads, char** argv);

}  // namespace tandem::tool
