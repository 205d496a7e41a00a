#include "core/run/overlap.hpp"

#include <algorithm>
#include <array>
#include <iterator>

namespace tandem {
namespace {

constexpr std::size_t axis_count = 4;

/// A tensor as runs of adjacent bytes: a pixel's channels, or a block of them.
struct Runs {
    struct Axis {
        std::int64_t stride = 0, count = 1;
    };
    std::int64_t width = 0;
    std::array<Axis, axis_count> axes{};                // of pixels, rows, blocks of channels, images
    std::array<std::int64_t, axis_count + 1> extent{};  // of a run and of what the first axes span

    explicit Runs(const PlacedTensor& t) noexcept {
        const std::int64_t bytes = element_bytes(t.dtype),
                           block = t.view.layout == Layout::nhwc ? t.shape.c : channel_block(t.view.layout);
        width = block * bytes;
        axes = {Axis{t.view.pixel * bytes, t.shape.w}, Axis{t.view.row * bytes, t.shape.h},
                Axis{t.view.block * bytes, (t.shape.c - 1) / block + 1},
                Axis{t.view.image * bytes, t.shape.n}};
        extent[0] = width;
        for (std::size_t i = 0; i < axis_count; ++i)
            extent[i + 1] = extent[i] + (axes[i].count - 1) * axes[i].stride;
    }
    bool has_gaps() const noexcept {
        std::int64_t bytes = width;
        for (const Axis& axis : axes)
            bytes *= axis.count;
        return extent.back() != bytes;
    }
};

/// Two tensors of which each step of one, from pixel to pixel or from row to row, is one of the other.
class Lattice {
public:
    Lattice(const Runs& a, const Runs& b) noexcept : a_(a), b_(b) {
        for (std::size_t i = 0; i < axis_count; ++i) {
            const Runs::Axis &of_a = a.axes[i], &of_b = b.axes[i];
            strides_[i] = of_a.count > 1 ? of_a.stride : of_b.stride;
            if (of_a.count == 1 && of_b.count == 1) continue;
            const bool alike = of_a.count == 1 || of_b.count == 1 || of_a.stride == of_b.stride;
            known_ = known_ && alike && std::max(a.extent[i], b.extent[i]) <= strides_[i];
        }
    }
    /// The strides agree, and what the inner axes span fits each of them: so few steps are to be tried.
    bool known() const noexcept { return known_; }

    /// Whether some run of b, which begins `distance` bytes behind a, meets one of a: whether the distance is
    /// a sum of steps but for less than a run.
    bool meet(std::int64_t distance, std::size_t axes = axis_count) const noexcept {
        if (distance <= -b_.extent[axes] || distance >= a_.extent[axes]) return false;
        if (axes == 0) return true;
        const std::size_t i = axes - 1;
        const std::int64_t stride = strides_[i], most = a_.axes[i].count - 1, least = 1 - b_.axes[i].count;
        if (most == least) return meet(distance, i);
        // The steps that leave a distance within what the inner axes span: two at most.
        std::int64_t steps = std::min(floor_div(distance + b_.extent[i] - 1, stride), most);
        for (; steps >= least && distance - steps * stride < a_.extent[i]; --steps)
            if (meet(distance - steps * stride, i)) return true;
        return false;
    }

private:
    static std::int64_t floor_div(std::int64_t a, std::int64_t b) noexcept {
        return a / b - (a % b < 0 ? 1 : 0);
    }

    const Runs &a_, &b_;
    std::array<std::int64_t, axis_count> strides_{};
    bool known_ = true;
};

/// Bytes that lie together, again after every `period` bytes.
struct Comb {
    std::int64_t period = 0, width = 0;
};

/// Pixels, rows, blocks of channels and images. Those that further strides do not keep in step make no comb:
/// {}.
std::array<Comb, axis_count> combs(const Runs& runs) noexcept {
    std::array<Comb, axis_count> result{};
    for (std::size_t i = 0; i < axis_count; ++i) {
        const std::int64_t stride = runs.axes[i].stride;
        const auto in_step = [stride](const Runs::Axis& further) {
            return further.count == 1 || further.stride % stride == 0;
        };
        if (stride > 0 && std::all_of(runs.axes.begin() + i + 1, runs.axes.end(), in_step))
            result[i] = {stride, runs.extent[i]};
    }
    return result;
}

/// The teeth of two combs of one period pass each other.
bool interlock(const Comb& a, const Comb& b, std::int64_t distance) noexcept {
    if (a.period == 0 || a.period != b.period) return false;
    const std::int64_t offset = distance % a.period;
    return offset >= a.width && offset + b.width <= a.period;
}

}  // namespace

std::uintptr_t PlacedTensor::bytes() const noexcept {
    return static_cast<std::uintptr_t>(element_count(shape, view) * element_bytes(dtype));
}

Overlap overlap(const PlacedTensor& a, const PlacedTensor& b) noexcept {
    if (a.begin() > b.begin()) return overlap(b, a);
    if (b.begin() - a.begin() >= a.bytes()) return Overlap::none;
    const auto distance = static_cast<std::int64_t>(b.begin() - a.begin());
    const Runs first(a), second(b);
    const Lattice lattice(first, second);
    if (lattice.known()) return lattice.meet(distance) ? Overlap::certain : Overlap::none;
    const auto of_first = combs(first), of_second = combs(second);
    for (std::size_t i = 0; i < axis_count; ++i)
        if (interlock(of_first[i], of_second[i], distance)) return Overlap::none;
    // Both begin with the same byte; or without gaps the first has the second's first byte, or the second the
    // first's last one.
    const bool ends_within = first.extent.back() <= distance + second.extent.back();
    const bool met = distance == 0 || !first.has_gaps() || (ends_within && !second.has_gaps());
    return met ? Overlap::certain : Overlap::possible;
}

}  // namespace tandem
