// Tile cost: what one tile of a plan computes and moves, and how long it takes. The step between block_cost
// and cost_model.
#pragma once

#include <map>

#include "core/plan/block_cost.hpp"
#include "core/plan/cost_model.hpp"

namespace tandem {

/// Which tile, and what its part has done before.
struct TilePlace {
    TileIndex tile{};
    TileStart how{};
    bool first = true;  // of its part: nothing is in the caches that a tile above would have left there
};

inline constexpr std::size_t resource_count = 6;

struct TileCost {
    double flops = 0, seconds = 0, fma_seconds = 0;
    std::array<double, max_stages> stage_seconds{};
    std::array<Traffic, level_count> bytes{};
    std::array<double, resource_count> by_resource{};  // seconds; they add up to `seconds`
};

class TileCosts {
public:
    TileCosts(const Problem& problem, const Plan& plan, const MachineRates& rates, int threads);

    /// Tiles of equal shape share one computation.
    const TileCost& at(const TilePlace& place);
    std::int64_t scratch_bytes() const noexcept { return mid_bytes_; }

private:
    struct Reach {  // what a tile's stage computes and reads along both axes
        Span rows{}, columns{}, in_rows{}, in_columns{}, old_in_rows{};
        StageShare share{};
    };
    struct Phase {  // one stage of one tile
        BlockWork work{};
        std::array<Traffic, level_count> bytes{};
        double hidden = 0;                       // bytes among them that a prefetch has announced
        double stored_near = 0, stored_far = 0;  // of the intermediate, bytes that are written: to L2, beyond
    };
    using Key = std::vector<std::int64_t>;

    Reach reach(int i, const TileSpans::Stage& stage, const Span& rows_above) const;
    Key key_of(const TilePlace& place) const;
    TileCost compute(const TilePlace& place) const;
    Phase phase(int i, const Reach& reach, const std::vector<GroupRun>& runs) const;
    void add_source(Phase& phase, int i, const Reach& reach, double groups, double panel) const;
    void add_weights(Phase& phase, int i, double groups, double panel, double use, double block_input) const;
    void add_parking(Phase& phase, int i, double panel) const;
    void add_planes(Phase& phase, double numbers) const;
    double k_blocks(int i) const;
    double block_input(int i, const StageShare& share) const;
    bool by_strassen(int i) const { return plan_.stage(i).algorithm == Algorithm::strassen; }
    double source_bytes(int i) const;
    void add_workspace(Phase& phase, int i, const StageShare& share, double channels) const;
    void move_prefetch(Phase& first, Phase& last) const;
    void add_time(const Phase& phase, int i, TileCost& cost) const;

    const Problem& problem_;
    const Plan& plan_;
    const MachineRates& rates_;
    std::vector<RowBuffer> mids_;
    std::int64_t mid_bytes_ = 0;  // of all of them
    std::vector<PanelLayout> panels_;
    std::vector<std::vector<GroupRun>> split_runs_;
    Level home_ = Level::l1;
    double tile_bytes_ =
        0;  // input, intermediate, weights and output of a typical tile: the reuse distance between two tiles
    double mid_reuse_ = 0;  // what passes between writing an intermediate and first reading it
    std::map<Key, TileCost> known_;
};

}  // namespace tandem
