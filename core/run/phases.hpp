// Phases: the rounds of a measurement by how fast the machine was meanwhile, as a probe timed in the same
// rounds saw it. Pure functions.
//
// On shared machines some units, AMX above all, run fast for a second and more and then slowly: a median
// over both says little about either.
#pragma once

#include <vector>

#include "core/run/measure.hpp"

namespace tandem {

struct Phase {
    std::vector<char> rounds;  // one a round: it belongs to the phase
    int count = 0;             // of them
    double seconds = 0;        // median of the probe's samples in it
};

/// The fast phase and the slow one; or a single phase of all rounds, where the probe's samples are not two
/// groups that are clearly apart and of some size each. Of two phases none has the rounds in which the
/// probe was disturbed.
std::vector<Phase> split_phases(const Series& probe);

/// The samples of a phase as a series of their own.
Series during(const Phase& phase, const Series& series);

}  // namespace tandem
