// Block cost: how long the register blocks of one stage take in one tile if all their operands are in L1.
// Pure functions.
#pragma once

#include "core/plan/machine_rates.hpp"
#include "core/plan/panel.hpp"

namespace tandem {

/// One stage's work in one tile, for given output-channel groups.
struct BlockWork {
    double flops = 0;        // real channels and taps only
    double fma_seconds = 0;  // flops at the machine's peak
    double seconds =
        0;  // with partly filled vectors, loads, latency, post-ops, stores, calls; at least fma_seconds
    double l1_loads = 0;    // bytes loaded by instructions
    double l1_weights = 0;  // of them, weights
    double l1_stores = 0;
    double blocks = 0;  // register blocks, all groups
    double parked = 0;  // bytes of accumulators that are stored between K blocks, and loaded again
};

/// What a tile asks of a stage.
struct StageShare {
    std::int64_t rows = 0, width = 0;  // rows and pixels of a row; a flat tile is one row
    double row_taps = 0;               // kernel rows inside the image, summed over the tile's rows
    double column_taps = 0;            // kernel columns inside the image, summed over the pixels of a row
    std::int64_t lines = 0;            // rows counted as the image does, for depthwise row groups
};

BlockWork dense_work(const Problem& problem, const Plan& plan, int i, const std::vector<GroupRun>& runs,
                     const StageShare& share, const MachineRates& rates);
/// A Strassen stage: seven products of half the channels, and the sums of pixels. `flops`: the products'.
BlockWork strassen_work(const Problem& problem, const Plan& plan, int i, const std::vector<GroupRun>& runs,
                        const StageShare& share, const MachineRates& rates);
/// A Winograd stage: the GEMMs of all points, and the two transforms. `flops` are those of the GEMMs.
BlockWork winograd_work(const Problem& problem, const Plan& plan, int i, const std::vector<GroupRun>& runs,
                        const StageShare& share, const MachineRates& rates);
BlockWork depthwise_work(const Problem& problem, const Plan& plan, int i, const std::vector<GroupRun>& runs,
                         const StageShare& share, const MachineRates& rates);

}  // namespace tandem
