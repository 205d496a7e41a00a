// Contender: one way to compute a layer, for `tandem bench` to time against the others on the same data.
//
// To add one: derive from Contender, and name it in contender_names() and make_contender().
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "core/plan/problem.hpp"
#include "core/run/verification_data.hpp"
#include "tandem/tandem.hpp"
#include "tools/options.hpp"
#include "tools/problem_source.hpp"

namespace tandem::tool {

class ThreadPlacement;

/// One layer with its data; outlives the contenders prepared with it. Numbers are floats whatever the
/// tensors' data types are, as in VerificationData; quantised ones have zero points of zero, and weights of
/// 7 bits.
struct Workload {
    ConvChain chain{};
    Problem problem{};
    VerificationData data{};
    std::vector<float> input_nchw;
    std::array<std::vector<float>, max_stages> residual_nchw;
};
Result<std::unique_ptr<Workload>> make_workload(const ConvChain& chain);

class Contender {
public:
    virtual ~Contender() = default;
    /// Everything that is not to be timed, and one run: its output, NCHW, quantised ones as stored. An
    /// error says why this layer is not comparable.
    virtual Result<std::vector<float>> prepare(const Workload& workload) = 0;
    /// Computes the layer once more. Only after prepare() went well.
    virtual void run() noexcept = 0;
    /// Which kernels run, e.g. the implementations oneDNN chose. Only after prepare().
    virtual std::vector<std::string> description() const = 0;
};

/// Where tensors begin: on lines, as malloc() and oneDNN have it; all of them on pages; or behind pages, each
/// elsewhere.
enum class Alignment { line, page, staggered };
inline constexpr std::array<const char*, 3> alignment_names{"line", "page", "staggered"};
inline const char* to_string(Alignment alignment) {
    return alignment_names[static_cast<std::size_t>(alignment)];
}

/// What contenders are made with. Outlives them.
struct BenchSetup {
    Settings settings{};
    Context* context = nullptr;
    ThreadPool* pool = nullptr;            // null: one thread
    ThreadPlacement* placement = nullptr;  // of threads that are not the pool's; null: one thread
    bool onednn_auto = false;  // contender "onednn": let oneDNN choose the algorithm, Winograd included,
                               // instead of direct convolution
    bool cold = false;         // L1 and L2 are emptied before each call
    Alignment alignment = Alignment::line;  // of Tandem's tensors
};

/// Tandem's kernel of the whole layer: what the others are compared with.
std::unique_ptr<Contender> make_tandem_contender(const BenchSetup& setup);

/// The others, the one to compare with by default first:
///   onednn       a primitive for each convolution, direct unless the setup says otherwise; only in builds
///   with
///                oneDNN
///   onednn-auto  the same, but oneDNN chooses the algorithm, Winograd included; only in builds with oneDNN
///   libxsmm      Tandem's kernel with its own plan, but every dense stage direct and its GEMMs LIBXSMM's
///   separate     Tandem's kernels of the single convolutions, run after each other with the intermediates
///                in memory
const std::vector<std::string>& contender_names();
/// An error says why this build has to skip a contender of that name.
Status contender_available(const std::string& name);
/// `name` is one of contender_names().
std::unique_ptr<Contender> make_contender(const std::string& name, const BenchSetup& setup);

}  // namespace tandem::tool
